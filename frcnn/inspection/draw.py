"""Draws boxes with their class and score onto an image.

Line width and font size depend on the size of the image and the number of boxes. A small image is first
enlarged by a whole factor. A label is placed outside its box if there is room, and inside only if it
covers a small part of the box. If there is no room, the label is made smaller, and then omitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from frcnn.data import oriented
from frcnn.inspection.colours import class_colour
from frcnn.inspection.fonts import Text

MIN_LONG_SIDE = 600  # pixels; smaller images are enlarged to at least this
FONT_SIZES = (1.0, 0.75, 0.5)  # tried in this order, of the size that suits the image
MIN_FONT_SIZE = 10  # pixels; smaller letters cannot be read
MAX_HIDDEN = 0.1  # a label may cover at most this share of its own box
MAX_HIDDEN_OTHER = 0.1  # all labels together may cover at most this share of another box
CROWD = 12  # boxes; with more of them labels become smaller


def draw(
    image: np.ndarray | Image.Image,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    class_names: Sequence[str],
) -> Image.Image:
    """Return a copy of an image with boxes drawn on it, the highest score on top.

    Args:
        image: (H, W, 3) RGB in [0, 255], or a Pillow image.
        boxes: (G, 4) boxes in pixels of the image, or (G, 5) oriented ones.
        labels: (G,) int, indices into ``class_names``.
        scores: (G,) in [0, 1]; None for ground truth.
        class_names: names in any script (``frcnn.inspection.fonts``).

    Returns:
        A Pillow RGB image, enlarged by a whole factor if the image's long side is shorter than
        ``MIN_LONG_SIDE`` pixels.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    factor = math.ceil(MIN_LONG_SIDE / max(image.size))
    image = image.convert("RGB").resize([factor * side for side in image.size], Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(image)
    # A narrow image (a panorama) has room only for thin lines and small letters.
    line = max(2, round(min(max(image.size) / 400, min(image.size) / 60)))
    font_size = min(max(14, max(image.size) / 50), min(image.size) / 5)
    if len(boxes) > CROWD:
        font_size = max(min(font_size, MIN_FONT_SIZE), font_size * max(0.6, (CROWD / len(boxes)) ** 0.5))
    boxes = oriented.scaled(boxes, factor)
    corners = np.rint(oriented.outer(boxes)).astype(int)
    order = np.arange(len(corners)) if scores is None else np.argsort(scores, kind="stable")
    for index in order:
        if boxes.shape[1] == 5:
            _draw_oriented(canvas, boxes[index], class_colour(labels[index]), line)
        else:
            _draw_box(canvas, corners[index].tolist(), class_colour(labels[index]), line)
    placed: list[tuple[int, ...]] = []
    for index in reversed(order):
        score = "" if scores is None else f" {scores[index]:.2f}"
        text = _fitted(class_names[labels[index]], score, image.width - 2 * line)
        label = _place_label(text, index, corners, placed, image.size, font_size, line)
        if label:
            placed.append(label[1])
            _draw_label(canvas, label[0], label[1], class_colour(labels[index]), line)
    return image


def _ink(fill):
    """Return black or white, whichever has more contrast with a colour."""
    red, green, blue = fill
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # ITU-R BT.601 luma
    return (0, 0, 0) if bright else (255, 255, 255)


def _draw_box(canvas, box, fill, line):
    """Draw the outline of a box: on its inside, or around a small box."""
    x1, y1, x2, y2 = box
    x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)  # Pillow's corners are inclusive
    if min(x2 - x1, y2 - y1) < 8 * line:
        x1, y1, x2, y2 = x1 - line, y1 - line, x2 + line, y2 + line
    # A border in black or white keeps the box visible on a background of its own colour.
    canvas.rectangle([x1 - 1, y1 - 1, x2 + 1, y2 + 1], outline=_ink(fill), width=line + 2)
    canvas.rectangle([x1, y1, x2, y2], outline=fill, width=line)


def _draw_oriented(canvas, box, fill, line):
    """Draw the outline of an oriented box."""
    points = [*map(tuple, oriented.corners(box))]
    outline = [*points, points[0], points[1]]
    canvas.line(outline, fill=_ink(fill), width=line + 2)
    canvas.line(outline, fill=fill, width=line)


def _fitted(name, score, width):
    """Return a label, its name shortened if the label is wider than the image in the smallest font."""
    kept = len(name)
    while kept > 1 and Text(_cut(name, kept) + score, MIN_FONT_SIZE).width > width:
        kept -= 1 + kept // 8
    return _cut(name, kept) + score


def _cut(name, kept):
    return name if kept == len(name) else f"{name[:kept]}\u2026"


def _place_label(text, index, boxes, placed, size, font_size, line):
    """Return a label's ``Text`` and its plate (x1, y1, x2, y2); None if there is no room.

    Args:
        text: the label.
        index: index of its box in ``boxes``.
        boxes: (G, 4) int.
        placed: plates of the labels placed so far.
        size: (width, height) of the image.
        font_size: pixels; smaller sizes are tried, too.
        line: margin around the text, pixels.
    """
    if font_size < MIN_FONT_SIZE:
        return None
    inside, labels = np.clip(boxes, 0, [*size, *size]), np.array(placed).reshape(-1, 4)
    already = _hidden(labels, inside).sum(axis=0)
    for share in FONT_SIZES:
        drawn = Text(text, max(MIN_FONT_SIZE, round(share * font_size)))
        width, height = drawn.width + 2 * line, drawn.ascent + drawn.descent + 2 * line
        plates = _candidates(boxes[index], width, height, size)
        plates = plates[(plates[:, :2] >= 0).all(axis=1) & (plates[:, 2:] <= size).all(axis=1)]
        if len(plates) == 0:
            continue
        hidden = _hidden(plates, inside)
        own = hidden[:, index].copy()
        hidden[:, index] = 0.0
        worst = np.where(hidden > 0, hidden + already, 0.0).max(axis=1)
        taken = _hidden(plates, labels).sum(axis=1) > 0
        fits = (own <= MAX_HIDDEN) & (worst <= MAX_HIDDEN_OTHER) & ~taken
        if fits.any():
            best = np.where(fits, np.maximum(worst, own), np.inf).argmin()
            return drawn, plates[best].tolist()
    return None


def _candidates(box, width, height, size):
    """Return (K, 4) possible plates of a label, the preferred first.

    They lie above and below the box, right and left of it, and inside its corners.
    """
    x1, y1, x2, y2 = np.clip(box, 0, [*size, *size])
    right, bottom = max(0, size[0] - width), max(0, size[1] - height)
    starts = [np.clip(x, 0, right) for x in (x1, x2 - width)]
    tops = [np.clip(y, 0, bottom) for y in (y1, y2 - height)]
    places = [(x, y) for y in (y1 - height, y2) for x in starts]
    places += [(x, y) for x in (x2, x1 - width) for y in tops]
    places += [(x, y) for y in tops for x in starts]
    corners = np.array(places)
    return np.concatenate([corners, corners + [width, height]], axis=1)


def _hidden(plates, boxes):
    """Return (K, G) shares of each box that each plate covers."""
    low = np.maximum(plates[:, None, :2], boxes[None, :, :2])
    high = np.minimum(plates[:, None, 2:], boxes[None, :, 2:])
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1), axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / area


def _draw_label(canvas, text, plate, fill, line):
    """Draw a label's plate and its text."""
    x1, y1, x2, y2 = plate
    canvas.rectangle([x1, y1, x2 - 1, y2 - 1], fill=fill)
    text.draw(canvas, x1 + line, y1 + line + text.ascent, _ink(fill))
