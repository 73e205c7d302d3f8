# SPDX-License-Identifier: Apache-2.0
"""The plots of a result."""

import svg
from cases import text_of
from tables import PLACES, columns

FEWEST = 3  # points that make a line


def lines(result, entries, x, y):
    """(name, dashed, points) for each peer that has enough of them."""
    found = []
    for peer in columns(result, entries):
        points = [(x(entry), y(entry)) for entry in entries if entry.peer == peer and entry.rounds and y(entry)]
        if len(points) >= FEWEST:
            found.append((result.title(peer), result.peers[peer]["limit"], sorted(points)))
    return found


def draw(result, entries, title, x_title, y_title, x, y, text):
    drawn = lines(result, entries, x, y)
    ticks = sorted({value for _, _, points in drawn for value, _ in points})
    return (
        (title, svg.chart(title, x_title, y_title, [(value, text(value)) for value in ticks], drawn)) if drawn else None
    )


def all_plots(result):
    """Title and SVG by file name."""
    rate = lambda entry: (entry.bytes_per_second() or 0) / 1e6
    p50 = lambda entry: entry.median("p50") or 0
    plain = lambda value: f"{value:,}"
    found = {}
    for part in PLACES:
        found[f"sizes-{part}.svg"] = draw(
            result,
            result.some(part=part, group="sizes", write=False),
            f"READ, one at a time, {PLACES[part]}",
            "bytes",
            "p50, µs",
            lambda entry: entry.size,
            p50,
            text_of,
        )
        found[f"concurrency-{part}.svg"] = draw(
            result,
            result.some(part=part, group="concurrency"),
            f"READ 64 KiB, several at a time, {PLACES[part]}",
            "operations at a time",
            "MB/s",
            lambda entry: entry.slots,
            rate,
            plain,
        )
        found[f"descriptors-{part}.svg"] = draw(
            result,
            result.some(part=part, group="descriptors"),
            f"READ of descriptors of 4 KiB, {PLACES[part]}",
            "descriptors",
            "MB/s",
            lambda entry: entry.descriptors,
            rate,
            plain,
        )
    found["readers.svg"] = draw(
        result,
        result.some(part="readers"),
        "One owner, many readers, 1 MiB each, TCP on loopback",
        "reader processes",
        "MB/s in all",
        lambda entry: entry.readers,
        rate,
        plain,
    )
    return {name: one for name, one in found.items() if one}
