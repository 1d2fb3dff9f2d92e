"""Bar charts of a data set: as text for the terminal and the report, and as one picture by matplotlib.

There is text besides the picture because a data set is often inspected over SSH, without a display.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frcnn.inspection import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_WIDTH = 50  # characters of the longest bar
WIDTH, ROW_HEIGHT, TITLE_HEIGHT = 8.0, 0.25, 0.6  # inches
DPI = 100
MAX_PIXELS = 60_000  # matplotlib refuses 2**16 rows


@dataclasses.dataclass(frozen=True)
class BarChart:
    """A horizontal bar chart.

    Attributes:
        title: what is counted, with its unit.
        rows: ((label, value, text of the value), ...), from the top.
        full: value of a bar of full length; 0: the largest value.
    """

    title: str
    rows: tuple[tuple[str, float, str], ...]
    full: float = 0.0

    def text(self) -> str:
        """Return the chart as lines of text."""
        widest = max((len(label) for label, _, _ in self.rows), default=0)
        lines = [self.title]
        for label, value, shown in self.rows:
            bar = "#" * round(TEXT_WIDTH * value / self._full())
            lines.append(f"  {label:>{widest}} | {bar}{' ' if bar else ''}{shown}")
        return "\n".join(lines)

    def draw(self, axes: Axes) -> None:
        """Draw the chart on matplotlib ``Axes``."""
        numbers = range(len(self.rows))
        bars = axes.barh(numbers, [value for _, value, _ in self.rows])
        axes.bar_label(bars, [shown for _, _, shown in self.rows], padding=3)
        axes.set_yticks(numbers, [fonts.replace_missing(label) for label, _, _ in self.rows])
        for tick, (label, _, _) in zip(axes.get_yticklabels(), self.rows):
            tick.set(family=fonts.families(label), parse_math=False)  # "$" in a class name is no formula
        axes.set(title=self.title, xlim=(0, 1.15 * self._full()), xticks=[])
        axes.invert_yaxis()
        axes.spines[["top", "right", "bottom"]].set_visible(False)

    def _full(self):
        return self.full or max((value for _, value, _ in self.rows), default=0) or 1


def figure(bar_charts: Sequence[BarChart]) -> Figure:
    """Draw bar charts one below the other."""
    from matplotlib.figure import Figure

    heights = [TITLE_HEIGHT + ROW_HEIGHT * max(1, len(chart.rows)) for chart in bar_charts]
    whole = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    places = whole.subplots(len(bar_charts), height_ratios=heights, squeeze=False)
    for chart, axes in zip(bar_charts, places[:, 0]):
        chart.draw(axes)
    return whole


def save(bar_charts: Sequence[BarChart], path: pathlib.Path | str) -> None:
    """Write bar charts one below the other as a PNG."""
    whole = figure(bar_charts)
    whole.savefig(path, dpi=min(DPI, MAX_PIXELS / whole.get_figheight()))


def counts(title: str, labels: Iterable[object], values: Iterable[float]) -> BarChart:
    """Return the chart of a count for each label."""
    rows = ((str(label), int(value), str(int(value))) for label, value in zip(labels, values))
    return BarChart(title, tuple(rows))


def shares(title: str, labels: Iterable[str], values: Iterable[float]) -> BarChart:
    """Return the chart of a share in [0, 1] for each label."""
    rows = ((label, float(value), f"{value:.1%}") for label, value in zip(labels, values))
    return BarChart(title, tuple(rows), 1.0)


def histogram(title: str, values: Sequence[float] | np.ndarray) -> BarChart:
    """Return the histogram of positive values, with two bins per octave."""
    values = np.asarray(values, "float64")
    if not len(values):
        return BarChart(title, ())
    bins = np.floor(2 * np.log2(values) + 1e-9).astype(int)
    numbers = np.arange(bins.min(), bins.max() + 1)
    labels = [f"{2 ** (k / 2):.3g} to {2 ** ((k + 1) / 2):.3g}" for k in numbers]
    return counts(title, labels, np.bincount(bins - bins.min(), minlength=len(numbers)))
