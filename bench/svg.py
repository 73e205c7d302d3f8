# SPDX-License-Identifier: Apache-2.0
"""Line charts on two logarithmic axes, as SVG."""

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 840, 420
LEFT, TOP, RIGHT, BOTTOM = 84, 48, 240, 52
# Told apart without colour too: markers differ, and the first line is the thick one.
COLOURS = [
    "#0b6e4f",
    "#c44536",
    "#1d4e89",
    "#b8860b",
    "#6a4c93",
    "#3a7ca5",
    "#7f4f24",
    "#555555",
    "#999999",
    "#aa4465",
    "#2b9348",
]
MARKERS = ["circle", "square", "triangle", "diamond"]


def marker(kind, x, y, colour):
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{colour}"/>'
    points = {
        "square": [(-3, -3), (3, -3), (3, 3), (-3, 3)],
        "triangle": [(0, -4), (3.6, 3), (-3.6, 3)],
        "diamond": [(0, -4), (4, 0), (0, 4), (-4, 0)],
    }[kind]
    return f'<polygon points="{" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in points)}" fill="{colour}"/>'


def decades(low, high):
    return [10.0**n for n in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def spread(places, least):
    """Moves labels down until none is on top of another."""
    moved, last = {}, -math.inf
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = moved[name] = max(place, last + least)
    over = max(0, last - (HEIGHT - BOTTOM))
    return {name: place - over for name, place in moved.items()}


def chart(title, x_title, y_title, ticks, lines):
    """ticks: (value, text) on the x axis. lines: (name, dashed, [(x, y)]), the first one thick. Returns the SVG."""
    xs = [value for value, _ in ticks]
    ys = [y for _, _, points in lines for _, y in points if y > 0]
    marks = decades(min(ys), max(ys))
    if len(marks) == 1:
        marks.append(marks[0] * 10)
    scale = lambda value, low, high: (math.log(value) - math.log(low)) / (math.log(high) - math.log(low) or 1)
    at_x = lambda value: LEFT + scale(value, min(xs), max(xs)) * (WIDTH - LEFT - RIGHT)
    at_y = lambda value: HEIGHT - BOTTOM - scale(value, marks[0], marks[-1]) * (HEIGHT - TOP - BOTTOM)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold" fill="#222">{escape(title)}</text>',
    ]
    for value in marks:
        out.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(value):.1f}" y2="{at_y(value):.1f}" stroke="#ddd"/>'
        )
        out.append(f'<text x="{LEFT - 8}" y="{at_y(value) + 4:.1f}" text-anchor="end" fill="#444">{value:,.12g}</text>')
    for value, text in ticks:
        out.append(
            f'<line x1="{at_x(value):.1f}" x2="{at_x(value):.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}" stroke="#888"/>'
        )
        out.append(
            f'<text x="{at_x(value):.1f}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle" font-size="10" fill="#444">{escape(text)}</text>'
        )
    out.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle" fill="#444">{escape(x_title)}</text>'
    )
    out.append(f'<text x="{LEFT - 70}" y="{TOP - 12}" fill="#444">{escape(y_title)}</text>')
    labels = spread({name: at_y(points[-1][1]) for name, _, points in lines}, 15)
    for index, (name, dashed, points) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        places = [(at_x(x), at_y(y)) for x, y in points]
        style = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{3 if index == 0 else 1.6}"{style}/>'
        )
        out += [marker(MARKERS[index % len(MARKERS)], x, y, colour) for x, y in places]
        x, y = places[-1]
        weight = ' font-weight="bold"' if index == 0 else ""
        out.append(
            f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{WIDTH - RIGHT + 10}" y2="{labels[name]:.1f}" stroke="{colour}" stroke-width="0.6"/>'
        )
        out.append(
            f'<text x="{WIDTH - RIGHT + 14}" y="{labels[name] + 4:.1f}" fill="{colour}"{weight}>{escape(name)}</text>'
        )
    return "\n".join(out) + "\n</svg>\n"
