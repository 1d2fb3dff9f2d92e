"""Bar charts as text and as pictures, of the same numbers, without a plotting library."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from frcnn.inspection.fonts import Text

TEXT_WIDTH = 50  # characters of the longest bar
BAR_WIDTH, ROW_HEIGHT, MARGIN, FONT_SIZE = 420, 22, 14, 14  # pixels
INK, BAR, GROUND = (30, 30, 30), (70, 120, 190), (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Bars:
    """A horizontal bar chart.

    Attributes:
        title: what is counted, with its unit.
        rows: ((label, value, value as shown), ...), from the top.
        full: the value of a bar of full length; 0: the largest.
    """

    title: str
    rows: tuple[tuple[str, float, str], ...]
    full: float = 0.0

    def text(self):
        """Return the chart as lines of text."""
        widest = max((len(label) for label, _, _ in self.rows), default=0)
        lines = [self.title]
        for label, value, shown in self.rows:
            bar = "#" * round(TEXT_WIDTH * value / self._full())
            lines.append(f"  {label:>{widest}} | {bar}{' ' if bar else ''}{shown}")
        return "\n".join(lines)

    def picture(self):
        """Return the chart as a Pillow RGB image."""
        title = Text(self.title, FONT_SIZE)
        labels = [Text(label, FONT_SIZE) for label, _, _ in self.rows]
        values = [Text(shown, FONT_SIZE) for _, _, shown in self.rows]
        left = 2 * MARGIN + max((label.width for label in labels), default=0)
        value_width = max((value.width for value in values), default=0)
        width = max(left + BAR_WIDTH + value_width, title.width) + 2 * MARGIN
        height = 2 * MARGIN + ROW_HEIGHT * (len(self.rows) + 1)
        image = Image.new("RGB", (width, height), GROUND)
        canvas = ImageDraw.Draw(image)
        title.draw(canvas, MARGIN, MARGIN + FONT_SIZE, INK)
        for number, (_, value, _) in enumerate(self.rows):
            y = MARGIN + ROW_HEIGHT * (number + 1)
            right = left + BAR_WIDTH * value / self._full()
            label = labels[number]
            label.draw(canvas, left - MARGIN // 2 - label.width, y + FONT_SIZE + 1, INK)
            canvas.rectangle([left, y + 3, right, y + ROW_HEIGHT - 4], BAR)
            values[number].draw(canvas, right + MARGIN // 2, y + FONT_SIZE + 1, INK)
        return image

    def _full(self):
        return self.full or max((value for _, value, _ in self.rows), default=0) or 1


def counts(title, labels, values):
    """Return the ``Bars`` of a count for each label."""
    return Bars(title, tuple((str(label), int(v), str(int(v))) for label, v in zip(labels, values)))


def shares(title, labels, values):
    """Return the ``Bars`` of a share in [0, 1] for each label."""
    return Bars(title, tuple((label, float(v), f"{v:.1%}") for label, v in zip(labels, values)), 1.0)


def histogram(title, values):
    """Return the ``Bars`` of how many positive values lie where, two bins an octave."""
    values = np.asarray(values, "float64")
    if not len(values):
        return Bars(title, ())
    bins = np.floor(2 * np.log2(values) + 1e-9).astype(int)
    numbers = np.arange(bins.min(), bins.max() + 1)
    labels = [f"{2 ** (k / 2):.3g} to {2 ** ((k + 1) / 2):.3g}" for k in numbers]
    return counts(title, labels, np.bincount(bins - bins.min(), minlength=len(numbers)))


def stack(pictures):
    """Return Pillow images one below the other, on a common ground."""
    width, height = max(one.width for one in pictures), sum(one.height for one in pictures)
    image, y = Image.new("RGB", (width, height), GROUND), 0
    for one in pictures:
        image.paste(one, (0, y))
        y += one.height
    return image
