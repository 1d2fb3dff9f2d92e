"""Mosaic: four images are combined into one (Bochkovskiy et al. 2020, YOLOv4, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frcnn.data import oriented
from frcnn.data.augmentation.example import Example, blank

OTHERS = 3  # number of images besides the image itself
SCALES = (0.5, 1.0)  # range of the factor of each image's size
MIDDLE = (0.3, 0.7)  # range of the point where the four meet, as a share of the sides


def put_together(
    examples: Sequence[Example], size: tuple[int, int], rng: np.random.Generator
) -> Example:
    """Put four examples into the quarters of a canvas, which meet at a random point.

    Each is cut or padded to its quarter, at a random position. If the box of a rotated object is cut,
    the box may be larger than the visible part of the object.

    Args:
        examples: four examples, with images of any size.
        size: (width, height) of the canvas, pixels.
        rng: random generator.
    """
    x, y = (int(share * side) for share, side in zip(rng.uniform(*MIDDLE, 2), size))
    corners = ((0, 0, x, y), (x, 0, size[0], y), (0, y, x, size[1]), (x, y, *size))
    parts = []
    canvas = blank(size, examples[0].image.dtype)
    for example, (x1, y1, x2, y2) in zip(examples, corners):
        part = place_at_random(example, (x2 - x1, y2 - y1), rng)
        canvas[y1:y2, x1:x2] = part.image
        parts.append(part.replace(boxes=oriented.shift(part.boxes, x1, y1)))
    names = ("boxes", "labels", "difficult", "visible")
    return Example(canvas, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def place_at_random(example: Example, size: tuple[int, int], rng: np.random.Generator) -> Example:
    """Cut or pad an example to ``size``, (width, height), at a random position in both axes."""
    spare = [to - of for to, of in zip(size, example.image.shape[1::-1])]
    x, y = (int(rng.integers(min(one, 0), max(one, 0) + 1)) for one in spare)
    return example.placed(size, (x, y))
