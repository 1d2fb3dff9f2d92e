"""Line charts in one picture, drawn by matplotlib."""

import dataclasses
import io
from math import ceil, floor, log10

from PIL import Image

WIDTH, HEIGHT = 4.0, 3.0  # of one chart, inches of 100 pixels


@dataclasses.dataclass(frozen=True)
class Lines:
    """A line chart.

    Attributes:
        title: title of the chart.
        x_title, y_title: titles of the axes, with units.
        lines: {name: ((x, y), ...)}; names are shown if there are several lines.
        logarithmic: whether both axes are logarithmic; then all numbers are above 0. Otherwise both axes
            start at 0.
    """

    title: str
    x_title: str
    y_title: str
    lines: dict
    logarithmic: bool = False

    def draw(self, axes):
        """Draw it on matplotlib ``Axes``."""
        from matplotlib.ticker import EngFormatter, NullFormatter

        for name, points in self.lines.items():
            axes.plot(*zip(*points), marker=".", label=name)
        axes.set(title=self.title, xlabel=self.x_title, ylabel=self.y_title)
        axes.grid(alpha=0.3)
        values = [y for points in self.lines.values() for _, y in points]
        if self.logarithmic:
            axes.set(xscale="log", yscale="log")
            # Whole powers of ten, so that what hardly changes looks so.
            axes.set_ylim(10.0 ** floor(log10(min(values))), 10.0 ** ceil(log10(max(values) * 1.01)))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set(xlim=(0, None), ylim=(0, 1.05 * max(values) or 1.0))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 200k
        if len(self.lines) > 1:
            axes.legend()


def figure(charts, columns):
    """Return ``Lines`` side by side, in rows, as a matplotlib ``Figure``."""
    from matplotlib.figure import Figure

    columns = min(columns, len(charts))
    rows = -(-len(charts) // columns)
    whole = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
    places = whole.subplots(rows, columns, squeeze=False).flat
    for chart, axes in zip(charts, places):
        chart.draw(axes)
    for axes in places[len(charts) :]:
        axes.remove()
    return whole


def save(charts, columns, path):
    """Write ``Lines`` side by side, in rows, as a small PNG."""
    drawn = io.BytesIO()
    figure(charts, columns).savefig(drawn, dpi=100)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(64).save(path, optimize=True)
