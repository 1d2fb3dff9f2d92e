"""A random crop that holds an object, or a part of one (Liu et al. 2016, SSD, section 2.2)."""

from __future__ import annotations

import numpy as np

from frcnn.data.augmentation.example import MIN_VISIBLE, clip

# SSD's: the crop and at least one box overlap by this IoU, of which one is drawn.
MIN_IOUS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
SIDES = (0.3, 1.0)  # sides of the crop, shares of the image's
RATIOS = (0.5, 2.0)  # width / height of the crop, over that of the image
TRIES = 50


def draw_window(
    width: int, height: int, boxes: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw the window of a crop.

    The first of ``TRIES`` windows is taken that overlaps a box by the IoU drawn from ``MIN_IOUS`` and
    leaves a box visible. Without such a window it is the whole image. An image without boxes takes any.

    Args:
        width, height: of the image, pixels.
        boxes: (G, 4) in pixels of the image.
        rng: generator of the draws.

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
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        shared = visible * areas
        if (shared / (areas + wide * high - shared)).max() >= min_iou and visible.max() >= MIN_VISIBLE:
            return window
    return 0, 0, width, height
