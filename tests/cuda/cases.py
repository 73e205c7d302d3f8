# SPDX-License-Identifier: Apache-2.0
"""What must be right. A case is a name and a function of a pair of workers, which raises when it fails; what it
returns goes into the report."""

import itertools

SIZES = [1, 7, 256, 4096, 8191, 65536, 65537, 1 << 20, (1 << 20) + 3, 16 << 20, (64 << 20) + 5, 256 << 20, 1 << 30]
DRY_SIZES = [1, 7, 256, 4096, 8191, 65536, 65537, 1 << 20, (1 << 20) + 3, 16 << 20]
DIRECTIONS = {"H2D": ("host", "cuda"), "D2H": ("cuda", "host"), "D2D": ("cuda", "cuda")}
SOURCE, TARGET = {"lead": 3, "gap": 5}, {"lead": 8, "gap": 16}  # unlike, and one of them uneven


def limit_for(size):
    """Seconds: what a slow path takes, and some."""
    return 6.0 + size / 100e6


def transfer(pair, kind, source, target, two=True, api="native", options=None, integrity=False):
    """One operation, looked at on both sides. kind: READ or WRITE, of the side that begins."""
    owner, other = (pair.a, pair.b) if two else (pair.a, pair.a)
    mine, theirs = (source, target) if kind == "READ" else (target, source)
    size = sum(source["sizes"]) if "sizes" in source else source["count"] * source["high"]
    limit = limit_for(size)
    common = {"kind": kind, "seed": 7, "api": api, "options": options, "limit": limit, "integrity": integrity}
    offered = owner.call("offer", within=3 * limit, memory=mine, **common)
    try:
        taken = other.call("take", within=3 * limit, memory=theirs, metadata=offered["metadata"], **common)
        owner.call("finish", within=3 * limit, number=offered["number"], limit=limit)
    except Exception as error:
        if not hasattr(error, "facts"):  # the worker lives
            owner.call("drop", number=offered["number"])
        raise
    return taken


def memory(place, form="torch", side=None, **pieces):
    return {"place": place, "form": form, **(side or {}), **pieces}


def plain(sizes, two):
    """Every size, direction and kind."""
    for size, (name, (source, target)), kind in itertools.product(sizes, DIRECTIONS.items(), ("READ", "WRITE")):
        if size >= 256 << 20 and kind == "WRITE" and name != "D2D":
            continue  # time; 64 MiB have been there
        yield (
            f"{kind} {name} {size} B",
            lambda pair, s=source, t=target, n=size, k=kind: transfer(
                pair, k, memory(s, side=SOURCE, sizes=[n]), memory(t, side=TARGET, sizes=[n]), two=two
            ),
        )


MANY = {
    "1,000 of 1 B to 64 KiB": {"count": 1000, "low": 1, "high": 65536, "seed": 3},
    "10,000 of 0 to 2 KiB": {"count": 10000, "low": 0, "high": 2048, "seed": 4},
    "256 of 64 KiB to 1 MiB": {"count": 256, "low": 65536, "high": 1 << 20, "seed": 5},
    "0, 1, 0, 4096, 0 B": {"sizes": [0, 1, 0, 4096, 0]},
    "one of 0 B": {"sizes": [0]},
}


def many(two):
    """Lists of descriptors, empty ones among them, also with host and device memory in turn."""
    for (name, pieces), (direction, (source, target)) in itertools.product(MANY.items(), DIRECTIONS.items()):
        for kind in ("READ", "WRITE") if "10,000" not in name else ("READ",):
            yield (
                f"{kind} {direction}, descriptors: {name}",
                lambda pair, s=source, t=target, p=pieces, k=kind: transfer(
                    pair, k, memory(s, side=SOURCE, **p), memory(t, side=TARGET, **p), two=two
                ),
            )
    mixed = {"count": 64, "low": 1, "high": 100000, "seed": 6}
    for source, target in (("mixed", "mixed"), ("mixed", "cuda"), ("host", "mixed")):
        yield (
            f"READ {source} to {target}, 64 descriptors",
            lambda pair, s=source, t=target: transfer(pair, "READ", memory(s, **mixed), memory(t, **mixed), two=two),
        )


def kinds_of_memory(has_cupy):
    """Each form of object, and each way to allocate, as source and as target, in two processes."""
    forms = [("cuda", "torch"), ("cuda", "dlpack"), ("cuda", "interface"), ("cuda", "pointer"), ("pinned", "torch")]
    if has_cupy:
        forms += [("cupy", "cupy"), ("raw", "cupy"), ("async", "cupy"), ("managed", "cupy"), ("cupy", "dlpack")]
    for place, form in forms:
        for size in (5000, (4 << 20) + 1, 32 << 20):
            piece = {"sizes": [size, 100]}
            one, dense = memory(place, form, SOURCE, **piece), memory("cuda", side=TARGET, **piece)
            name = f"memory {place}, shown as {form}, {size} B"
            yield f"{name}, source", lambda pair, o=one, d=dense: transfer(pair, "READ", o, d)
            yield f"{name}, target", lambda pair, o=one, d=dense: transfer(pair, "READ", d, o)


def dropin(two=True):
    """ropeway.nixl_connect, as programs for dynamo.nixl_connect use it."""
    for interop in (True, False):
        for register, (direction, (source, target)) in itertools.product((False, True), DIRECTIONS.items()):
            options = {"interop": interop, "register": register}
            for kind, size in (("READ", 4096), ("READ", 8 << 20), ("WRITE", 4096), ("WRITE", 8 << 20)):
                name = f"drop-in {kind} {direction} {size} B"
                name += f"{', for stock peers too' if interop else ''}{', registered' if register else ''}"
                piece = {"sizes": [size, 33]}
                yield (
                    name,
                    lambda pair, s=source, t=target, k=kind, p=piece, o=options: transfer(
                        pair, k, memory(s, **p), memory(t, **p), two=two, api="dropin", options=o
                    ),
                )


def named(pair, function, **arguments):
    return pair.a.call("other", module="special", function=function, arguments=arguments)


def both(pair, function, peer_function, within=30.0, **arguments):
    """A function at a, whose result goes to one at b."""
    given = pair.a.call("other", within=within, module="special", function=function, arguments=arguments)
    found = pair.b.call("other", within=within, module="special", function=peer_function, arguments={"given": given})
    pair.a.call("other", module="special", function="settle", arguments={})
    return found


def burst(pair):
    count, size = 64, 1 << 20
    offered = pair.a.call("offer", kind="READ", memory=memory("cuda", sizes=[size]), seed=9, times=count)
    found = pair.b.call("burst", count=count, size=size, seed=9, metadata=offered["metadata"])
    pair.a.call("finish", number=offered["number"])
    return found


def begin_to_end(pair, source, size, end):
    """b reads from a. From memory of the host it takes long enough to be cut off after the first bytes."""
    size = min(size, 1 << 26) if pair.dry else size
    offered = pair.a.call("offer", within=40, kind="READ", memory=memory(source, sizes=[size]), seed=9)
    arguments = {"metadata": offered["metadata"][0], "size": size, "seed": 9, "end": end, "moving": source == "host"}
    return offered["number"], pair.b.call("interrupted", within=40, **arguments)


def check_end(pair, source, found, error):
    cut_off = found["ended"].startswith(error)
    if not cut_off and (pair.dry or source == "cuda"):
        cut_off = found["ended"] == "complete"  # before that
    if not cut_off or (source == "host" and found["moved"] == 0):
        raise AssertionError(f"an operation that was cut off ended, with {found['moved']} B, as: {found['ended']}")


def cancelled(pair, source):
    number, found = begin_to_end(pair, source, 1 << 28 if source == "cuda" else 1 << 30, "cancel")
    pair.a.call("drop", number=number)
    check_end(pair, source, found, "OperationCancelled")
    again = transfer(pair, "READ", memory("cuda", sizes=[1 << 20]), memory("cuda", sizes=[1 << 20]))
    return {**found, "again": again}


def owner_dies(pair, source):
    """Spends the pair: a is killed while b reads."""
    _, begun = begin_to_end(pair, source, 1 << 30, "death")
    pair.a.kill()
    found = pair.b.call("outcome", within=60, number=begun["number"])
    check_end(pair, source, found, "PeerError")
    pair.a = pair.b
    again = transfer(pair, "READ", memory("cuda", sizes=[1 << 20]), memory("cuda", sizes=[1 << 20]), two=False)
    return {**found, "again": again}


REFUSALS = (
    "strided_source strided_target transposed_target negated conjugate sparse integrity overlapping_targets "
    "device_number_out_of_range"
).split()


def specials(has_cupy, dry):
    """What is refused, and what is handled, as the documentation says."""
    if not dry:
        for name in REFUSALS:
            yield f"refused: {name}", lambda pair, n=name: named(pair, "refused", what=n)
    for name in ("sliced_rows", "strided_host_target", "wide_strided_host_target", "strided_host_source"):
        yield f"handled: {name}", lambda pair, n=name: both(pair, "give_view", "take_view", what=n)
    for dtype in "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 float8_e4m3fn".split():
        yield f"offer and fetch: {dtype}", lambda pair, d=dtype: both(pair, "give_tensor", "take_tensor", dtype=d)
    yield "offer and fetch: a dict of tensors, host and device", lambda pair: both(pair, "give_dict", "take_dict")
    if has_cupy:
        yield "offer of cupy, fetched to torch and numpy", lambda pair: both(pair, "give_cupy", "take_cupy")
    yield "drop-in: descriptors and Device('cuda:0')", lambda pair: named(pair, "dropin_surface")
    yield "drop-in: program that stages through the host", lambda pair: both(pair, "give_staged", "take_staged")
    yield "64 operations of 1 MiB at a time", burst
    for source in ("cuda", "host"):
        yield f"cancelled while it moves, {source} to cuda", lambda pair, s=source: cancelled(pair, s)
