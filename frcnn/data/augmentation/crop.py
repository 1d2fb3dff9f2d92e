"""A random crop with at least a part of an object in it (Liu et al. 2016, SSD, section 2.2)."""

from __future__ import annotations

import numpy as np

from frcnn.data import oriented
from frcnn.data.augmentation.example import MIN_VISIBLE, clip

# Least IoU of the crop with at least one box. One of these is drawn, as in SSD.
MIN_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SIDES = (0.3, 1.0)  # sides of the crop, as shares of the image's sides
RATIOS = (0.5, 2.0)  # width / height of the crop, divided by that of the image
TRIES = 50


def draw_window(
    width: int, height: int, boxes: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw the window of a crop.

    Up to ``TRIES`` windows are drawn. The first one is taken that has the drawn IoU of ``MIN_IOUS`` with
    a box, and in which at least one box remains visible. If there is none, the window is the whole
    image. For an image without boxes any window is taken.

    Args:
        width, height: sides of the image, pixels.
        boxes: (G, 4) in pixels of the image, or (G, 5) oriented ones.
        rng: random generator.

    Returns:
        x1, y1, x2, y2, whole pixels, half-open.
    """
    min_iou = rng.choice(MIN_IOUS)
    for _ in range(TRIES):
        wide, high = (
            max(1, round(side * share)) for side, share in zip((width, height), rng.uniform(*SIDES, 2))
        )
        x, y = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
        if not RATIOS[0] <= (wide / width) / (high / height) <= RATIOS[1]:
            continue
        window = (x, y, x + wide, y + high)
        if not len(boxes):
            return window
        _, visible = clip(boxes, window)
        areas = np.prod(oriented.side_lengths(boxes), axis=1)
        shared = visible * areas
        if (shared / (areas + wide * high - shared)).max() >= min_iou and visible.max() >= MIN_VISIBLE:
            return window
    return 0, 0, width, height
