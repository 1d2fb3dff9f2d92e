"""Charts as inline SVG, coloured by the page's style sheet, so that they follow dark mode.

matplotlib's SVG has fixed colours, and is about ten times as large.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from frcnn.report.markup import Markup, join, tag

LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 36  # margins, units of the drawing
MAX_POINTS = 200  # per line

Point = tuple[float, float]


def line_chart(
    title: str,
    axes: tuple[str, str],
    lines: Sequence[tuple[str, Sequence[Point]]],
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    size: tuple[int, int] = (420, 280),
    diagonal: bool = False,
    dots: bool = False,
) -> Markup:
    """Return a chart of lines.

    Args:
        title: what the chart shows; screen readers read it.
        axes: names of the x and the y axis.
        lines: (name, points) of each line; points that are not finite are not drawn.
        x_range, y_range: ends of the axes.
        size: width and height, units of the drawing.
        diagonal: whether to draw the line y = x.
        dots: whether to mark the points.
    """
    width, height = size
    inner = width - LEFT - RIGHT, height - TOP - BOTTOM

    def place(x, y):
        x = LEFT + (x - x_range[0]) / ((x_range[1] - x_range[0]) or 1) * inner[0]
        y = TOP + (1 - (y - y_range[0]) / ((y_range[1] - y_range[0]) or 1)) * inner[1]
        return round(float(x), 1), round(float(y), 1)

    parts = [_axes(axes, x_range, y_range, size, place)]
    if diagonal:
        (x1, y1), (x2, y2) = place(0, 0), place(1, 1)
        parts.append(tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_="diagonal"))
    for number, (name, points) in enumerate(lines):
        places = [place(x, y) for x, y in thinned(points)]
        way = Markup(" ".join(f"{x},{y}" for x, y in places))
        colour = f"line{number % 8}"
        parts.append(tag("polyline", tag("title", name), points=way, class_=colour))
        if dots or len(places) == 1:
            parts += [tag("circle", cx=x, cy=y, r=3, class_=colour) for x, y in places]
    drawing = tag("svg", *parts, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)
    legend = Markup("")
    if len(lines) > 1:
        names = (
            tag("li", tag("span", class_=f"key line{number % 8}"), name)
            for number, (name, _) in enumerate(lines)
        )
        legend = tag("ul", *names, class_="legend")
    return tag("figure", tag("figcaption", title), drawing, legend)


def _axes(names, x_range, y_range, size, place):
    """Return the grid, and the numbers and names of the axes."""
    width, height = size
    parts = []
    for x in _ticks(x_range):
        left, low = place(x, y_range[0])
        parts.append(tag("line", x1=left, y1=TOP, x2=left, y2=low, class_="grid"))
        parts.append(tag("text", f"{x:g}", x=left, y=low + 14, text_anchor="middle"))
    for y in _ticks(y_range):
        left, low = place(x_range[0], y)
        parts.append(tag("line", x1=left, y1=low, x2=width - RIGHT, y2=low, class_="grid"))
        parts.append(tag("text", f"{y:g}", x=left - 5, y=low + 4, text_anchor="end"))
    parts.append(tag("text", names[0], x=(LEFT + width - RIGHT) / 2, y=height - 6, text_anchor="middle"))
    middle = (TOP + height - BOTTOM) / 2
    turned = f"rotate(-90 11 {middle})"
    parts.append(tag("text", names[1], x=11, y=middle, text_anchor="middle", transform=turned))
    return join(parts)


def _ticks(ends: tuple[float, float]) -> list[float]:
    """Return three to six round numbers within the ends of an axis."""
    low, high = ends
    if high <= low:
        return [low]
    step = 10.0 ** np.floor(np.log10(high - low))
    for factor in (0.1, 0.2, 0.5, 1, 2):
        if (high - low) / (step * factor) <= 6:
            break
    first = np.ceil(low / (step * factor) - 1e-9)
    count = int(np.floor(high / (step * factor) + 1e-9) - first) + 1
    return [round(float((first + k) * step * factor), 10) for k in range(count)]


def thinned(points: Iterable[Point]) -> list[Point]:
    """Return at most ``MAX_POINTS`` of a line's finite points, with both ends."""
    array = np.array([*points], "float64").reshape(-1, 2)
    array = array[np.isfinite(array).all(axis=1)]
    if len(array) > MAX_POINTS:
        array = array[np.unique(np.linspace(0, len(array) - 1, MAX_POINTS).round().astype(int))]
    return [(float(x), float(y)) for x, y in array]


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Return horizontal bars as a list.

    Args:
        title: what the bars show.
        rows: (name, value, the value as text); a negative value has no bar.
    """
    largest = max((value for _, value, _ in rows), default=0.0) or 1.0
    items = []
    for name, value, said in rows:
        share = max(0.0, min(1.0, value / largest)) if np.isfinite(value) else 0.0
        bar = tag("span", class_="bar", style=f"width:{100 * share:.1f}%")
        items.append(
            tag("li", tag("span", name, class_="name"), tag("span", bar, class_="track"), tag("b", said))
        )
    return tag("figure", tag("figcaption", title), tag("ul", *items, class_="bars"))
