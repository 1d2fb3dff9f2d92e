"""Bar charts as text and as pictures, of the same numbers, without a plotting library."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw, ImageFont

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
        font = ImageFont.load_default(FONT_SIZE)
        widest = max((round(font.getlength(label)) for label, _, _ in self.rows), default=0)
        value_width = max((round(font.getlength(shown)) for _, _, shown in self.rows), default=0)
        left = 2 * MARGIN + widest
        width = max(left + BAR_WIDTH + value_width, round(font.getlength(self.title))) + 2 * MARGIN
        height = 2 * MARGIN + ROW_HEIGHT * (len(self.rows) + 1)
        image = Image.new("RGB", (width, height), GROUND)
        canvas = ImageDraw.Draw(image)
        canvas.text((MARGIN, MARGIN), self.title, INK, font)
        for number, (label, value, shown) in enumerate(self.rows, start=1):
            y = MARGIN + ROW_HEIGHT * number
            right = left + BAR_WIDTH * value / self._full()
            canvas.text((left - MARGIN // 2, y + 2), label, INK, font, anchor="ra")
            canvas.rectangle([left, y + 3, right, y + ROW_HEIGHT - 4], BAR)
            canvas.text((right + MARGIN // 2, y + 2), shown, INK, font)
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
