"""A training image with its boxes, and the rule that decides which boxes remain after a cut.

G: boxes of the image.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from frcnn.data import oriented
from frcnn.data.transforms import PADDING_RGB

# A box is dropped if less than this share of its area remains after a cut, because the rest of the
# object can hardly be recognised. SSD (Liu et al. 2016, section 2.2) drops a box if its centre is cut
# off, so of two halves of an object one is kept and one is dropped.
MIN_VISIBLE = 0.25
MIN_SIDE = 1.0  # boxes that are narrower or lower than this are dropped, pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """An image and its boxes between two transforms.

    Attributes:
        image: (H, W, 3) uint8 or float32 RGB, 0 to 255.
        boxes: (G, 4) float32, pixels of ``image``, inside it; or (G, 5) oriented ones, whose corners may
            lie outside.
        labels: (G,) int32.
        difficult: (G,) bool; such boxes go through all transforms like the others.
        visible: (G,) float32 share of each box's area that remains after all cuts so far.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    visible: np.ndarray

    def replace(self, **values: np.ndarray) -> Example:
        """Return a copy with other arrays."""
        return dataclasses.replace(self, **values)

    def clipped(self) -> Example:
        """Return a copy with boxes clipped to the image, without those below ``MIN_VISIBLE``."""
        height, width = self.image.shape[:2]
        boxes, share = clip(self.boxes, (0, 0, width, height))
        visible = self.visible * share
        sides = oriented.side_lengths(boxes)
        kept = (visible >= MIN_VISIBLE) & (sides >= MIN_SIDE).all(axis=1)
        rows = {name: getattr(self, name)[kept] for name in ("labels", "difficult")}
        return self.replace(boxes=boxes[kept], visible=visible[kept], **rows)

    def placed(self, size: tuple[int, int], offset: tuple[int, int]) -> Example:
        """Return a copy on a canvas with the padding's colour. The image is cut at the canvas's edges.

        Args:
            size: (width, height) of the canvas, pixels.
            offset: (x, y) of the image's corner on the canvas; may be negative.
        """
        canvas = blank(size, self.image.dtype)
        (x, y), (height, width) = offset, self.image.shape[:2]
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, size[0]), min(y + height, size[1])
        if x1 < x2 and y1 < y2:
            canvas[y1:y2, x1:x2] = self.image[y1 - y : y2 - y, x1 - x : x2 - x]
        return self.replace(image=canvas, boxes=oriented.shift(self.boxes, x, y)).clipped()


def clip(boxes: np.ndarray, window: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes clipped to a window x1, y1, x2, y2, and (G,) shares of area that remain.

    Args:
        boxes: (G, 4), or (G, 5) oriented ones, which ``oriented.clip`` cuts.
        window: in pixels.
    """
    if boxes.shape[-1] == 5:
        return oriented.clip(boxes, window)
    x1, y1, x2, y2 = window
    clipped = np.clip(boxes, [x1, y1, x1, y1], [x2, y2, x2, y2]).astype("float32")
    areas = [np.prod(own[:, 2:] - own[:, :2], axis=1) for own in (clipped, boxes)]
    return clipped, (areas[0] / np.maximum(areas[1], 1e-9)).astype("float32")


def blank(size: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Return a (H, W, 3) image of the padding's colour; ``size`` is (width, height)."""
    colour = np.rint(PADDING_RGB) if dtype == np.uint8 else PADDING_RGB
    return np.full((size[1], size[0], 3), colour, dtype)


def empty(size: tuple[int, int], dtype: np.dtype, numbers: int = 4) -> Example:
    """Return an example of the padding's colour without boxes.

    Args:
        size: (width, height), pixels.
        dtype: of the image.
        numbers: per box, 4 or 5.
    """
    none = np.zeros(0, "float32")
    boxes = np.zeros((0, numbers), "float32")
    return Example(blank(size, dtype), boxes, none.astype("int32"), none.astype(bool), none)
