# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/performance.md and docs/performance-cases.md, from a result."""

import statistics

from cases import NETWORK_PARTS, PARTS, text_of
from goals import GOALS, IdleGoal, reached

KIB, MIB = 1 << 10, 1 << 20
PLACES = {
    "shm": "shared memory",
    "tcp": "TCP on loopback",
    "delay": "TCP between two network namespaces, 1 ms each way",
    "rate": "TCP between two network namespaces, 1 Gbit/s",
}


def number(value):
    """Three digits that mean something."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.01 else f"{value:.2f}"


def size(value):
    return (
        text_of(value).replace("iB", " iB").replace("B", " B")
        if value < KIB
        else text_of(value).replace("KiB", " KiB").replace("MiB", " MiB")
    )


def table(head, rows):
    return [
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def machine(result):
    head = result.head
    about = head["machine"]
    loads = [one["load"] for entry in result.entries.values() for one in entry.rounds]
    text = (
        f"Measured on {head['begun'][:10]} at revision {about['revision']} on {about['cores']} cores of {about['cpu']}"
        f"{' (a virtual machine)' if about['virtual'] else ''}, {about['memory_bytes'] / 2**30:.0f} GiB of memory, {about['system']}, "
        f"Linux {about['kernel']}. Load average before: {head['load_at_start'][0]:.1f}; while measuring, with peers that poll and up to 256 readers: "
        f"{min(loads):.1f} to {max(loads):.1f}. "
    )
    if head["load_at_start"][0] > about["cores"]:
        text += "**The machine was busy with other work: the ratios are rough, and the times mean little.** "
    if head["quick"]:
        text += "This was a quick run, with fewer cases. "
    return [text + f"Up to {head['rounds']} rounds; figures are medians over the rounds.", ""]


def goals(result):
    rows = []
    for goal in GOALS:
        ours, theirs, ratio = goal.ratio(result)
        verdict = {None: "not measured", True: "reached", False: "**missed**"}[reached(goal, ours, ratio)]
        unit, idle = goal.unit(), isinstance(goal, IdleGoal)
        shown = [
            f"{value:.1f} {unit}"
            if idle and value is not None
            else f"{number(value)} {unit}"
            if value is not None
            else ""
            for value in (ours, theirs)
        ]
        rows.append(
            [
                goal.text,
                result.title(goal.theirs) if goal.theirs in result.peers else goal.theirs,
                *shown,
                "" if idle else f"{ratio:.2f}" if ratio else "",
                f"{goal.at_least:.1f} %" if idle else f"{goal.at_least:.3g}",
                verdict,
            ]
        )
    lines = table(["case", "against", "Ropeway", "the other", "ratio", "at least (idle: at most)", ""], rows)
    return lines + missed(result)


def limit_text(result, case, peer):
    entry = result.get(case, peer)
    if entry is None:
        return None
    place = PLACES[case.partition("-")[0]]
    verb = "WRITE" if entry.write else "READ"
    return f"{result.title(peer)}, {verb} {size(entry.size)} over {place}: {number(entry.median('p50'))} µs"


def missed(result):
    """What stood in the way of each goal that was missed, once for each reason, with what was measured of it."""
    reasons = {}
    for goal in GOALS:
        ours, _, ratio = goal.ratio(result)
        if reached(goal, ours, ratio) is False and goal.why:
            reasons.setdefault((goal.why, goal.limits), []).append(goal.text)
    lines = []
    for (why, limits), texts in reasons.items():
        shown = [text for text in (limit_text(result, *limit) for limit in limits) if text]
        lines.append(f"- **{'; '.join(dict.fromkeys(texts))}.** {why}.{' Limits: ' + '; '.join(shown) + '.' if shown else ''}")
    return ["Goals that were missed, and why:", "", *lines, ""] if lines else []


def columns(result, entries):
    """The peers that have figures among the entries, Ropeway first and limits last."""
    with_rounds = {entry.peer for entry in entries if entry.rounds}
    return [peer for peer in result.peers if peer in with_rounds]


def matrix(result, entries, label, cell, first):
    peers = columns(result, entries)
    entries = sorted(
        entries, key=lambda one: (one.write, one.size, one.slots, one.descriptors, one.readers, one.pending)
    )
    rows = []
    for case in dict.fromkeys(entry.case for entry in entries):
        found = {peer: result.get(case, peer) for peer in peers}
        some = next((entry for entry in found.values() if entry), None)
        if some:
            rows.append([label(some), *(cell(entry) if entry else "" for entry in found.values())])
    return table([first, *map(result.title, peers)], rows) if rows else []


def p50(entry):
    return number(entry.median("p50"))


def rate(entry):
    value = entry.bytes_per_second()
    return number(value / 1e6) if value else ""


def group(result, part, name, title, label, cell, first):
    entries = result.some(part=part, group=name)
    lines = matrix(result, entries, label, cell, first)
    return [f"**{title}**", "", *lines] if lines else []


def place(result, part):
    kind = lambda entry: f"{'WRITE' if entry.write else 'READ'} {size(entry.size)}"
    lines = [
        *group(result, part, "sizes", "One operation at a time, p50 in µs", kind, p50, "operation"),
        *group(result, part, "asleep", "One operation every 2 ms, p50 in µs", kind, p50, "operation"),
        *group(
            result,
            part,
            "concurrency",
            "READ 64 KiB, several at a time, MB/s",
            lambda entry: f"{entry.slots:,}",
            rate,
            "at a time",
        ),
        *group(
            result,
            part,
            "descriptors",
            "READ of several descriptors of 4 KiB, p50 in µs",
            lambda entry: f"{entry.descriptors:,}",
            p50,
            "descriptors",
        ),
        *group(
            result,
            part,
            "first",
            "First operation to a new peer, both processes warm, p50 in µs",
            kind,
            p50,
            "operation",
        ),
        *group(
            result,
            part,
            "both",
            "Both directions at once, total MB/s",
            lambda entry: f"READ {size(entry.size)}" + (f", {entry.slots} at a time" if entry.slots > 1 else ""),
            rate,
            "operation",
        ),
        *group(
            result,
            part,
            "idle",
            "Idle, connected: CPU time in percent of a core, active / passive process",
            lambda entry: f"{entry.pending:,}",
            lambda entry: f"{entry.median('active_percent'):.1f} / {entry.median('passive_percent'):.1f}",
            "pending operations",
        ),
    ]
    return [f"### Over {PLACES[part]}", "", *lines] if lines else []


def readers(result):
    def cell(entry):
        failures = max(entry.values("failures"))
        return (
            rate(entry)
            + (f", {failures} of {entry.readers} readers failed" if failures else "")
            + f" ({number(entry.median('p99') or 0)})"
        )

    lines = matrix(result, result.some(part="readers"), lambda entry: str(entry.readers), cell, "readers")
    return (
        [
            "### One owner, many reader processes",
            "",
            "All readers READ 1 MiB at a time, concurrently, over TCP on loopback: total MB/s, and p99 in µs.",
            "",
            *lines,
        ]
        if lines
        else []
    )


def starts(result):
    rows = []
    for peer, about in result.peers.items():
        entry = result.get("start-start-read-4KiB", peer)
        installed = about.get("installed_bytes")
        if entry:
            offers = [result.get(case, peer) for case in ("tcp-sizes-read-4KiB", "tcp-descriptors-read-4KiB-4096desc")]
            rows.append(
                [
                    about["title"],
                    *(
                        number(entry.median(key) * 1e3) if entry.median(key) is not None else ""
                        for key in ("import_s", "ready_s", "first_byte_s")
                    ),
                    number(entry.median("memory") / MIB),
                    *(number(offer.median("offer_bytes")) if offer else "" for offer in offers),
                    number(installed / MIB) if installed else "",
                ]
            )
    head = [
        "",
        "import, ms",
        "process ready, ms",
        "first 4 KiB there, ms",
        "memory, MiB",
        "offer of 1 descriptor, bytes",
        "of 4,096",
        "installed, MiB",
    ]
    return (
        [
            "### Startup, and sizes",
            "",
            "Time from the start of a reading process until it is ready, and until it has its first bytes from an owner that is already running; "
            "its resident set at that point; the bytes that go over the secondary channel, as JSON; and the size of the installation.",
            "",
            *table(head, rows),
        ]
        if rows
        else []
    )


def memory(result):
    found = [one for one in result.head.get("memory", []) if "failed" not in one]
    rows = [
        [
            one["over"],
            *(
                f"{one[name] / KIB:,.1f}"
                for name in ("connector", "another_connector", "connected_peer", "busy_peer", "operation", "operation_with_metadata")
            ),
            str(one["metadata"]),
        ]
        for one in found
    ]
    return (
        [
            "### Memory of Ropeway",
            "",
            f"Growth of the resident set in KiB by the first connector of a process, with the libraries that it needs, and by each of 8 others; per peer after one 4 KiB READ from each of {found[0]['peers']}, "
            f"per peer after a 4 MiB READ from all of them at once, and per operation of {found[0]['operations']:,} pending ones with one descriptor; "
            "and the size of a metadata text (`bench/memory.c`).",
            "",
            *table(
                [
                    "over",
                    "first connector",
                    "another",
                    "connected peer",
                    "busy peer",
                    "operation",
                    "operation and its metadata",
                    "metadata, bytes",
                ],
                rows,
            ),
        ]
        if found
        else []
    )


def crowd(result):
    found = [one for one in result.head.get("crowd", []) if "failed" not in one]
    times = ("alone", "beside_large", "in_crowd", "lock_beside_large", "release_from_stopped")
    cell = lambda one: f"{number(one['p50'])}, {number(one['p99'])}, {number(one['p999'])}"
    rows = [
        [one["over"], *(cell(one[name]) if name in one else "" for name in times), number(one["large_mb_per_s"])]
        for one in found
    ]
    return (
        [
            "### A small operation in a crowd",
            "",
            "READ of 4 KiB, one at a time, from begin to release: p50, p99 and p99.9 in µs; alone, beside transfers of 1 GiB "
            f"from the same owner, one after the other, and with {found[0]['idle']:,} idle peers of that owner and "
            f"{found[0]['pending']:,} operations of it pending. Beside the large ones also what a call takes that only "
            "waits for the connector's lock. And the release of a READ whose owner is stopped (`bench/crowd.c`).",
            "",
            *table(
                [
                    "over", "alone", "beside large ones", "in the crowd", "the lock, beside large ones",
                    "release, owner stopped", "large ones, MB/s",
                ],
                rows,
            ),
        ]
        if found
        else []
    )


def python(result):
    rows = []
    for peer in ("ropeway-python", "nixl-connect"):
        for line in result.python(peer):
            rows.append((f"{line['kind'].upper()} {size(line['bytes'])}, {line['at_a_time']} at a time", peer, line))
    keys = dict.fromkeys(key for key, _, _ in rows)

    def median(key, peer, field):
        values = [line[field] for k, p, line in rows if (k, p) == (key, peer)]
        return statistics.median(values) if values else None

    out = []
    for key in keys:
        cells = [key]
        for field in ("us", "cpu_us"):
            ours, theirs = (median(key, peer, field) for peer in ("ropeway-python", "nixl-connect"))
            cells += [number(ours), number(theirs), f"{theirs / ours:.1f}" if ours and theirs else ""]
        out.append(cells)
    return (
        [
            "### Whole operations in Python",
            "",
            "Create, metadata, begin, both sides done, between two processes (`bench/python.py`); CPU time is the sum of both.",
            "",
            *table(
                [
                    "",
                    "µs each, Ropeway",
                    "stock nixl_connect",
                    "ratio",
                    "CPU µs each, Ropeway",
                    "stock nixl_connect",
                    "ratio",
                ],
                out,
            ),
        ]
        if out
        else []
    )


def peers(result):
    rows = []
    for name, about in result.peers.items():
        settings = " ".join(f"`{key}={value}`" for one in about["settings"].values() for key, value in one.items())
        rows.append(
            [
                about["title"],
                about.get("version") or "",
                "limit" if about["limit"] else "peer",
                f"not measured: {about['unavailable']}"
                if "unavailable" in about
                else "; ".join(filter(None, (about["note"], settings))),
            ]
        )
    return ["### Peers", "", *table(["", "version", "", "how"], rows)]


def failures(result):
    rows = [
        [entry.case, result.title(entry.peer), entry.failed.replace("|", "/").replace("\n", " ")[:200]]
        for entry in result.entries.values()
        if entry.failed
    ]
    skipped = sum("skipped" in entry.about and not entry.rounds for entry in result.entries.values())
    lines = ["### What failed", "", *table(["case", "peer", "reason"], rows)] if rows else []
    text = f"{skipped} of {len(result.entries)} measurements were skipped, because time ran out."
    return [*lines, text, ""] if skipped else lines


def summary(result):
    lines = [*machine(result), "### Beside the peers", "", *goals(result)]
    for part in PARTS:
        if part in ("shm", "tcp", *NETWORK_PARTS):
            lines += place(result, part)
    return lines + readers(result) + python(result) + starts(result) + memory(result) + crowd(result) + peers(result) + failures(result)


def every_case(result):
    """All figures, one row for each case and peer."""
    rows = []
    for entry in result.entries.values():
        if entry.rounds and entry.median("p50") is not None:
            low, high = entry.range("p50")
            memory = [entry.median(key) for key in ("active_memory", "passive_memory")]
            rows.append(
                [
                    entry.case,
                    entry.peer,
                    str(len(entry.rounds)),
                    f"{number(entry.median('p50'))} ({number(low)} to {number(high)})",
                    number(entry.median("p99")),
                    number(entry.operations_per_second()),
                    rate(entry),
                    number(entry.median("active_cpu_us")),
                    number(entry.median("passive_cpu_us")),
                    *(number(value / MIB) if value else "" for value in memory),
                ]
            )
    return table(
        [
            "case",
            "peer",
            "rounds",
            "p50, µs",
            "p99, µs",
            "op/s",
            "MB/s",
            "active CPU, µs",
            "passive CPU, µs",
            "active MiB",
            "passive MiB",
        ],
        rows,
    )
