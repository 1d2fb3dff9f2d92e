"""Line charts as pictures, without a plotting library."""

import dataclasses
import math

from PIL import Image, ImageDraw, ImageFont

from frcnn.charts import GROUND, INK

WIDTH, HEIGHT, MARGIN, FONT_SIZE = 300, 250, 14, 12  # pixels of one chart
LEFT, BOTTOM, TOP = 52, 38, 26  # of the margins that hold numbers and titles
GRID = (225, 225, 225)
COLOURS = ((40, 100, 180), (200, 80, 40), (60, 140, 70), (130, 80, 160), (110, 110, 110))


@dataclasses.dataclass(frozen=True)
class Lines:
    """A line chart.

    Attributes:
        title: what is shown.
        x_title, y_title: what the axes count, with units.
        lines: {name: ((x, y), ...)}; the names are shown where there are several.
        logarithmic: whether both axes are; then all numbers are above 0.
    """

    title: str
    x_title: str
    y_title: str
    lines: dict
    logarithmic: bool = False

    def picture(self):
        """Return the chart as a Pillow RGB image."""
        font = ImageFont.load_default(FONT_SIZE)
        image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
        canvas = ImageDraw.Draw(image)
        canvas.text((WIDTH // 2, 4), self.title, INK, font, anchor="ma")
        canvas.text((WIDTH - MARGIN, HEIGHT - 4), self.x_title, INK, font, anchor="rd")
        canvas.text((4, HEIGHT - 4), self.y_title, INK, font, anchor="ld")
        points = [point for line in self.lines.values() for point in line]
        to_x = self._scale([x for x, _ in points], LEFT, WIDTH - MARGIN)
        to_y = self._scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
        for tick in self._ticks([x for x, _ in points]):
            canvas.line([to_x(tick), TOP, to_x(tick), HEIGHT - BOTTOM], GRID)
            canvas.text((to_x(tick), HEIGHT - BOTTOM + 3), short(tick), INK, font, anchor="ma")
        for tick in self._ticks([y for _, y in points]):
            canvas.line([LEFT, to_y(tick), WIDTH - MARGIN, to_y(tick)], GRID)
            canvas.text((LEFT - 4, to_y(tick)), short(tick), INK, font, anchor="rm")
        for number, (name, line) in enumerate(self.lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            places = [(to_x(x), to_y(y)) for x, y in line]
            canvas.line(places, colour, 2)
            for x, y in places:
                canvas.ellipse([x - 2, y - 2, x + 2, y + 2], colour)
            if len(self.lines) > 1:
                canvas.text((LEFT + 6, TOP + 3 + 14 * number), name, colour, font)
        return image

    def _scale(self, values, start, end):
        """Return the function from a number to its pixel on an axis."""
        ends = [*self._ticks(values), *values]
        low, high = (self._place(end_) for end_ in (min(ends), max(ends)))
        return lambda value: start + (self._place(value) - low) / ((high - low) or 1.0) * (end - start)

    def _place(self, value):
        return math.log10(value) if self.logarithmic else value

    def _ticks(self, values):
        """Return the round numbers that an axis shows."""
        low, high = min(values), max(values)
        if self.logarithmic:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            steps = (1,) if len(decades) > 3 else (1, 2, 5)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
            kept = [tick for tick in ticks if low * 0.45 <= tick <= high * 2.2]
            return kept or [low, high]
        step = nice(max(high, 0.0) - min(low, 0.0))
        return [
            step * number for number in range(math.floor(min(low, 0.0) / step), int(high / step) + 1)
        ]


def nice(extent):
    """Return the round step, 1, 2 or 5 times a power of ten, that cuts an extent into 3 to 7 parts."""
    if extent <= 0.0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(extent / 3.0))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= extent / 3.0)


def short(number):
    """Return a number in few letters: 1.2M, 30k, 0.05."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def grid(pictures, columns):
    """Return Pillow images of one size side by side, in rows."""
    rows = -(-len(pictures) // columns)
    image = Image.new("RGB", (WIDTH * min(columns, len(pictures)), HEIGHT * rows), GROUND)
    for number, picture in enumerate(pictures):
        image.paste(picture, (number % columns * WIDTH, number // columns * HEIGHT))
    return image


def save(picture, path):
    """Write a picture as a small PNG."""
    picture.quantize(32).save(path, optimize=True)
