# SPDX-License-Identifier: Apache-2.0
"""The plots of a result, by matplotlib. A peer looks the same in all of them.

bench/report runs this as a program in an environment that has matplotlib: plots.py RESULT prints, as JSON, an object
with a list of the description and the SVG for each file name.
"""

import io
import json
import re
import sys

import matplotlib
from cases import text_of
from matplotlib import ticker
from matplotlib.figure import Figure
from result import Result
from tables import PLACES, columns

FEWEST = 3  # points that make a line
SETTINGS = {
    # The same bytes for the same result.
    "svg.hashsalt": "ropeway",
    # Text stays text: it can be read aloud, searched and copied.
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib brings it along
    "font.size": 10,
    "text.color": "#222222",
    "axes.labelcolor": "#222222",
    "axes.edgecolor": "#888888",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "grid.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.8,
    "legend.labelspacing": 0.55,
}
# Colour and marker of each peer. The colours are Okabe and Ito's, which are told apart with the common
# kinds of colour blindness; relatives have similar ones, and never the same marker. Limits are grey.
LOOKS = {
    "ropeway": ("#0072b2", "o"),
    "ropeway-ucx": ("#56b4e9", "s"),
    "ropeway-tls": ("#332288", "D"),
    "ropeway-plain": ("#332288", "X"),
    "ropeway-python": ("#56b4e9", "^"),
    "nixl": ("#d55e00", "o"),
    "nixl-prepared": ("#e69f00", "s"),
    "nixl-shm": ("#7f3b08", "^"),
    "nixl-connect": ("#e69f00", "D"),
    "mooncake": ("#000000", "v"),
    "ucxx": ("#009e73", "P"),
    "connex": ("#cc79a7", "X"),
    "uccl": ("#009e73", "d"),
    "ucx-get": ("#555555", "o"),
    "ucx-am": ("#555555", "s"),
    "memcpy": ("#999999", "^"),
    "vm": ("#999999", "D"),
    "sockets": ("#999999", "v"),
}


def lines(result, entries, x, y):
    """(peer, points) for each peer that has enough of them."""
    found = []
    for peer in columns(result, entries):
        points = [(x(entry), y(entry)) for entry in entries if entry.peer == peer and entry.rounds and y(entry)]
        if len(points) >= FEWEST:
            found.append((peer, sorted(points)))
    return found


def plot_lines(axes, result, drawn):
    """Ropeway on top and thick, limits dashed; the key is in the order of the tables' columns."""
    for peer, points in drawn:
        colour, marker = LOOKS[peer]
        first, limit = peer == "ropeway", result.peers[peer]["limit"]
        axes.plot(
            *zip(*points, strict=True),
            label=result.title(peer),
            color=colour,
            marker=marker,
            markersize=7 if first else 5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linewidth=3 if first else 1.5,
            linestyle=(0, (4, 2)) if limit else "-",
            zorder=4 if first else 2 if limit else 3,
        )
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), borderaxespad=0)


def scale_axes(axes, drawn, text):
    """Logarithmic both: ticks where something was measured, and round numbers with names on the other axis."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    values = sorted({value for _, points in drawn for value, _ in points})
    axes.xaxis.set_major_locator(ticker.FixedLocator(values))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: text(round(value))))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    heights = [height for _, points in drawn for _, height in points]
    narrow = max(heights) / min(heights) < 100
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.12g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.tick_params(length=3)


def draw(result, entries, title, x_title, y_title, x, y, text):
    """Its description and SVG; None where nothing was measured."""
    drawn = lines(result, entries, x, y)
    if not drawn:
        return None
    about = f"{title}: {y_title} by {x_title}"
    peers = "; ".join(result.title(peer) for peer, _ in drawn)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(9.6, 4.8))
        axes = figure.subplots()
        plot_lines(axes, result, drawn)
        scale_axes(axes, drawn, text)
        axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=26)
        axes.text(0, 1.025, y_title, transform=axes.transAxes, color="#444444", va="bottom")
        axes.set_xlabel(x_title)
        axes.grid(visible=False, axis="x")
        figure.subplots_adjust(left=0.085, right=0.705, top=0.85, bottom=0.14)
        out = io.StringIO()
        metadata = {"Title": about, "Description": f"Lines: {peers}", "Date": None}
        figure.savefig(out, format="svg", facecolor="white", metadata=metadata)
    # Lines end in blanks as matplotlib writes them.
    return about, "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def all_plots(result):
    """Description and SVG by file name."""
    rate = lambda entry: (entry.bytes_per_second() or 0) / 1e6
    p50 = lambda entry: entry.median("p50") or 0
    plain = lambda value: f"{value:,}"
    two_lines = lambda value: re.sub(r"(?<=\d)(?=[KMG]?i?B)", "\n", text_of(value))
    time, speed = "p50 in µs (less is better)", "MB/s (more is better)"
    found = {}
    for part in PLACES:
        found[f"sizes-{part}.svg"] = draw(
            result,
            result.some(part=part, group="sizes", write=False),
            f"READ, one at a time, {PLACES[part]}",
            "size",
            time,
            lambda entry: entry.size,
            p50,
            two_lines,
        )
        found[f"concurrency-{part}.svg"] = draw(
            result,
            result.some(part=part, group="concurrency"),
            f"READ 64 KiB, several at a time, {PLACES[part]}",
            "operations at a time",
            speed,
            lambda entry: entry.slots,
            rate,
            plain,
        )
        found[f"descriptors-{part}.svg"] = draw(
            result,
            result.some(part=part, group="descriptors"),
            f"READ of descriptors of 4 KiB, {PLACES[part]}",
            "descriptors",
            speed,
            lambda entry: entry.descriptors,
            rate,
            plain,
        )
    found["readers.svg"] = draw(
        result,
        result.some(part="readers"),
        "One owner, many readers, 1 MiB each, TCP on loopback",
        "reader processes",
        "total MB/s (more is better)",
        lambda entry: entry.readers,
        rate,
        plain,
    )
    return {name: one for name, one in found.items() if one}


if __name__ == "__main__":
    json.dump(all_plots(Result(sys.argv[1])), sys.stdout)
