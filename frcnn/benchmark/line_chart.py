"""Line charts in one picture, drawn by matplotlib, which only ``--plot`` needs."""

import dataclasses

WIDTH, HEIGHT = 4.0, 3.0  # of one chart, inches of 100 pixels


@dataclasses.dataclass(frozen=True)
class Lines:
    """A line chart.

    Attributes:
        title: what is shown.
        x_title, y_title: what the axes count, with units.
        lines: {name: ((x, y), ...)}; the names are shown where there are several.
        logarithmic: whether both axes are; then all numbers are above 0. Else they start at 0.
    """

    title: str
    x_title: str
    y_title: str
    lines: dict
    logarithmic: bool = False

    def draw(self, axes):
        """Draw it on matplotlib ``Axes``."""
        for name, points in self.lines.items():
            axes.plot(*zip(*points), marker=".", label=name)
        axes.set(title=self.title, xlabel=self.x_title, ylabel=self.y_title)
        axes.grid(alpha=0.3)
        if self.logarithmic:
            axes.set(xscale="log", yscale="log")
        else:
            axes.set(xlim=(0, None), ylim=(0, None))
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
    """Write ``Lines`` side by side, in rows, as a picture."""
    figure(charts, columns).savefig(path, dpi=100)
