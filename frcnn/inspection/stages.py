"""Pictures of a detector's stages side by side: one image, with the boxes of each stage drawn on it.

Boxes of one kind (hits, misses, positive RoIs, ...) are a group with its own colour. The legend of a
panel has the name of each group and the number of its boxes. People with the common kinds of colour
blindness can tell the colours apart (Okabe and Ito 2008).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from frcnn.data import oriented
from frcnn.inspection.fonts import Text

Colour = tuple[int, int, int]

TRUTH: Colour = (86, 180, 233)
RIGHT: Colour = (0, 200, 140)
MISSED: Colour = (240, 228, 66)
WRONG: Colour = (255, 90, 60)
UNDECIDED: Colour = (190, 190, 190)

BAR: Colour = (32, 33, 36)  # behind titles and legends
INK: Colour = (255, 255, 255)
FONT_SIZES = (13, 12, 11, 10, 9)  # of titles and legends, the largest that fits
LABEL_SIZE = 11
LABEL_LENGTH = 16  # characters of a class name
MIN_WIDTH = 240  # pixels of a panel, for its legend
GAP = 4


@dataclasses.dataclass(frozen=True, eq=False)
class BoxGroup:
    """Boxes of one kind.

    Attributes:
        name: as the legend shows it.
        boxes: (M, 4) pixels of the image, or (M, 5) oriented ones.
        colour: (red, green, blue).
        labels: a text for each box, the most important box first; empty: no texts.
        width: of the lines, pixels of the picture.
    """

    name: str
    boxes: np.ndarray
    colour: Colour
    labels: Sequence[str] = ()
    width: int = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One stage: a title, and groups of boxes. Later groups are drawn on top, and their labels first."""

    title: str
    groups: Sequence[BoxGroup]


def picture(
    image: np.ndarray, panels: Sequence[Panel], title: str = "", side: int = 400, columns: int = 2
) -> np.ndarray:
    """Draw panels of one image in a grid.

    Args:
        image: (H, W, 3) RGB in [0, 255].
        panels: at least one.
        title: above all panels, such as the image's name.
        side: long side of each panel's image, pixels.
        columns: panels in a row.

    Returns:
        (H', W', 3) uint8 RGB.

    Example:
        >>> boxes = BoxGroup("object", np.array([[10, 10, 60, 80]]), TRUTH, ["cat"])
        >>> pixels = picture(image, [Panel("ground truth", [boxes])])
    """
    whole = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    factor = side / max(whole.size)
    small = whole.resize(
        [max(1, round(factor * length)) for length in whole.size], Image.Resampling.BILINEAR
    )
    drawn = [_draw_panel(small, panel, factor) for panel in panels]
    width, height = drawn[0].size
    columns = min(columns, len(drawn))
    rows = -(-len(drawn) // columns)
    total = columns * width + (columns - 1) * GAP
    head = 20 if title else 0
    canvas = Image.new("RGB", (total, head + rows * height + (rows - 1) * GAP), BAR)
    if title:
        _write(ImageDraw.Draw(canvas), title, total, 14)
    for number, panel in enumerate(drawn):
        row, column = divmod(number, columns)
        canvas.paste(panel, (column * (width + GAP), head + row * (height + GAP)))
    return np.asarray(canvas)


def short(name: str) -> str:
    """Return a class name of at most ``LABEL_LENGTH`` characters."""
    return name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}\u2026"


def _draw_panel(small, panel, factor):
    """Return a panel: title, image with boxes, legend."""
    width, height = max(small.width, MIN_WIDTH), small.height
    canvas = Image.new("RGB", (width, height + 40), BAR)
    left = (width - small.width) // 2
    own = small.copy()
    drawing = ImageDraw.Draw(own)
    for group in panel.groups:
        boxes = oriented.scaled(group.boxes, factor)
        if boxes.shape[1] == 5:
            for points in oriented.corners(boxes):
                drawing.polygon([*map(tuple, points)], outline=group.colour, width=group.width)
            continue
        for x1, y1, x2, y2 in np.rint(boxes).astype(int).tolist():
            x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)  # Pillow's corners are inclusive
            drawing.rectangle([x1, y1, x2, y2], outline=group.colour, width=group.width)
    placed: list[tuple[int, int, int, int]] = []
    for group in reversed(panel.groups):
        for box, label in zip(oriented.outer(oriented.scaled(group.boxes, factor)), group.labels):
            _draw_label(drawing, box, label, group.colour, own.size, placed)
    canvas.paste(own, (left, 20))
    canvas_drawing = ImageDraw.Draw(canvas)
    _write(canvas_drawing, panel.title, width, 14)
    _draw_legend(canvas_drawing, panel.groups, width, height + 34)
    return canvas


def _draw_label(drawing, box, label, colour, size, placed):
    """Write a label at the upper left corner of its box, unless another label is there."""
    text = Text(label, LABEL_SIZE)
    width, height = text.width + 4, LABEL_SIZE + 4
    x = int(np.clip(box[0], 0, max(size[0] - width, 0)))
    y = int(box[1]) - height if box[1] >= height else int(max(box[1], 0))
    plate = (x, y, x + width, y + height)
    if any(
        plate[0] < other[2] and other[0] < plate[2] and plate[1] < other[3] and other[1] < plate[3]
        for other in placed
    ):
        return
    placed.append(plate)
    drawing.rectangle([x, y, x + width - 1, y + height - 1], fill=colour)
    text.draw(drawing, x + 2, y + height - 4, (0, 0, 0))


def _draw_legend(drawing, groups, width, baseline):
    """Write the name and the number of boxes of each group, after a square of its colour."""
    for size in FONT_SIZES:
        texts = [Text(f"{group.name} {len(group.boxes)}", size) for group in groups]
        total = sum(text.width + size + 14 for text in texts)
        if total <= width:
            break
    x = 4
    for group, text in zip(groups, texts):
        drawing.rectangle([x, baseline - size + 2, x + size - 3, baseline - 1], fill=group.colour)
        text.draw(drawing, x + size + 2, baseline, INK)
        x += text.width + size + 14


def _write(drawing, words, width, baseline):
    """Write a title in the largest font that fits. If none fits, the title is cut."""
    for size in FONT_SIZES:
        text = Text(words, size)
        if text.width <= width - 8:
            break
    while text.width > width - 8 and len(words) > 1:
        words = words[: len(words) * 9 // 10].rstrip("\u2026") + "\u2026" if len(words) > 2 else "\u2026"
        text = Text(words, size)
    text.draw(drawing, 4, baseline, INK)
