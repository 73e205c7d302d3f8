# SPDX-License-Identifier: Apache-2.0
"""Which rates are measured, from the harness's side; see rates.py."""

import itertools

import rates

SIZES = [4096, 65536, 1 << 20, 64 << 20, 1 << 30]
DRY_SIZES = [4096, 65536, 1 << 20]
WAYS = {
    "H2D": ("host", "cuda"),
    "H2D pinned": ("pinned", "cuda"),
    "D2H": ("cuda", "host"),
    "D2H pinned": ("cuda", "pinned"),
    "D2D": ("cuda", "cuda"),
}
CHUNKS = [1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20]
# Settings of UCX that may move large transfers another way.
VARIANTS = (
    {"UCX_RNDV_SCHEME": "get_zcopy"},
    {"UCX_RNDV_SCHEME": "put_zcopy"},
    {"UCX_TLS": "^cuda_ipc"},
    {"UCX_RNDV_FRAG_MEM_TYPES": "host,cuda"},
    {"UCX_CUDA_COPY_ASYNC_MEM_TYPE": "cuda"},
    {"UCX_RCACHE_ENABLE": "n"},  # as on hosts with an RDMA network
)


def ask(process, function, within=40.0, **arguments):
    return process.call("other", within=within, module="rates", function=function, arguments=arguments)


def two(pair, source, target, size, budget, options=None):
    """READs between the two processes: two to know how long they take, then as many as fit the budget."""
    found, count, path = [], 2, ""
    for _ in range(2):
        offered = pair.a.call("offer", kind="READ", memory={"place": source, "sizes": [size]}, seed=21, times=count, options=options, limit=60)
        taken = ask(pair.b, "take", within=60, metadata=offered["metadata"], place=target, size=size, options=options)
        pair.a.call("finish", number=offered["number"], limit=60, within=60)
        found.append(taken["seconds"])
        path = taken["path"]
        # Checking and resetting cost as much again, and more.
        each = found[0][-1] * 3 + 0.0004 + size / 4e9
        count = max(rates.LEAST, min(rates.MOST, int(budget / each)))
    return rates.summary(found[1], size, first_us=round(found[0][0] * 1e6, 1), path=path)


def plan(dry):
    """Names and functions of a pair. Small sizes first: they must not be lost at a time limit."""
    for size in DRY_SIZES if dry else SIZES:
        budget = 0.15 if dry else 0.6
        for way, (source, target) in WAYS.items():
            key = {"size": size, "way": way}
            yield {**key, "who": "copy"}, lambda p, s=source, t=target, n=size, b=budget: ask(p.a, "copies", source=s, target=t, size=n, budget=b / 2)
            yield {**key, "who": "ropeway, one process"}, lambda p, s=source, t=target, n=size, b=budget: ask(p.a, "local", source=s, target=t, size=n, budget=b)
            yield {**key, "who": "ropeway, two processes"}, lambda p, s=source, t=target, n=size, b=budget: two(p, s, t, n, b)
        if not dry:
            yield {"size": size, "way": "D2D", "who": "copy through a CUDA IPC handle"}, lambda p, n=size, b=budget: ipc(p, n, b / 2)


def ipc(pair, size, budget):
    given = ask(pair.a, "ipc_give", size=size)
    try:
        return ask(pair.b, "ipc_take", given=given, size=size, budget=budget)
    finally:
        ask(pair.a, "ipc_end")


def chunks(dry):
    """Other lengths of chunks and windows than the defaults (4 MiB, 4)."""
    size = 1 << 20 if dry else 256 << 20
    for chunk, window in [*((chunk, 4) for chunk in CHUNKS), (4 << 20, 16), (16 << 20, 16), (16 << 20, 1)]:
        if chunk > size:
            continue
        options = {"chunk_size": chunk, "window": window, "max_inflight": max(256 << 20, chunk * window)}
        key = {"size": size, "chunk_size": chunk, "window": window}
        yield {**key, "way": "D2D", "who": "ropeway, two processes"}, lambda p, n=size, o=options: two(p, "cuda", "cuda", n, 0.1, o)
        for way in ("H2D pinned", "D2H pinned"):
            source, target = WAYS[way]
            yield {**key, "way": way, "who": "ropeway, two processes"}, lambda p, s=source, t=target, n=size, o=options: two(p, s, t, n, 0.1, o)


def variant(dry):
    """What is measured under each of VARIANTS."""
    sizes = [65536] if dry else [65536, 64 << 20]
    for size, way in itertools.product(sizes, ("D2D", "H2D", "D2H", "H2D pinned", "D2H pinned")):
        source, target = WAYS[way]
        yield {"size": size, "way": way, "who": "ropeway, two processes"}, lambda p, s=source, t=target, n=size: two(p, s, t, n, 0.3)
