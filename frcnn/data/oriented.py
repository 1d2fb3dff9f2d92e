"""Oriented boxes of labels and detections, in numpy: what happens to them when an image changes.

An oriented box is ``[cx, cy, w, h, angle]`` in pixels and radians; see ``frcnn.ops.oriented_boxes``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

SAME = 0.0011  # pixels and radians: boxes are written with three digits after the point


def outer(boxes: np.ndarray) -> np.ndarray:
    """Return the (..., 4) smallest axis-aligned boxes around boxes of either kind.

    Args:
        boxes: (..., 5) oriented boxes; (..., 4) axis-aligned boxes come back as they are.

    Example:
        >>> outer(np.array([[10.0, 10.0, 8.0, 2.0, np.pi / 2]])).round(3).tolist()
        [[9.0, 6.0, 11.0, 14.0]]
    """
    if boxes.shape[-1] == 4:
        return boxes
    cos, sin = np.abs(np.cos(boxes[..., 4:])), np.abs(np.sin(boxes[..., 4:]))
    width, height = boxes[..., 2:3], boxes[..., 3:4]
    half = 0.5 * np.concatenate([cos * width + sin * height, sin * width + cos * height], axis=-1)
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def from_axis_aligned(boxes: np.ndarray) -> np.ndarray:
    """Return (..., 4) axis-aligned boxes as (..., 5) oriented boxes of angle 0."""
    size = boxes[..., 2:] - boxes[..., :2]
    return np.concatenate([boxes[..., :2] + 0.5 * size, size, 0.0 * size[..., :1]], axis=-1)


def upright(boxes: np.ndarray) -> np.ndarray:
    """Return (..., 5) oriented boxes, rotated about their centres to angle 0, as (..., 4)."""
    half = 0.5 * boxes[..., 2:4]
    return np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)


def is_turned(box: np.ndarray, outer_box: np.ndarray) -> bool:
    """Return whether an oriented box (5,) is another than the axis-aligned box (4,) around its object.

    Example:
        >>> is_turned(np.array([5.0, 4.0, 8.0, 2.0, 0.0]), np.array([1.0, 3.0, 9.0, 5.0]))
        False
    """
    return bool(np.abs(from_axis_aligned(outer_box) - box).max() > SAME)


def corners(boxes: np.ndarray) -> np.ndarray:
    """Return the (..., 4, 2) corners x, y of (..., 5) oriented boxes, in order around the box."""
    cos, sin = np.cos(boxes[..., 4]), np.sin(boxes[..., 4])
    along = 0.5 * boxes[..., 2, None] * np.stack([cos, sin], axis=-1)
    across = 0.5 * boxes[..., 3, None] * np.stack([-sin, cos], axis=-1)
    offsets = [-along - across, along - across, along + across, across - along]
    return boxes[..., None, :2] + np.stack(offsets, axis=-2)


def stretch(boxes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return boxes of either kind in an image that is resized.

    Args:
        boxes: (G, 4) or (G, 5).
        factors: (2,) of x and y. Where they differ a little, by rounding to whole pixels, an oriented
            box becomes a parallelogram; the sides keep their lengths and ``w`` its direction.
    """
    if boxes.shape[-1] == 4:
        return boxes * np.tile(factors, 2)
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    along, across = np.stack([cos, sin], axis=1) * factors, np.stack([-sin, cos], axis=1) * factors
    sides = boxes[:, 2:4] * np.stack([np.hypot(*along.T), np.hypot(*across.T)], axis=1)
    angle = np.arctan2(along[:, 1], along[:, 0])
    return np.column_stack([boxes[:, :2] * factors, sides, angle]).astype(boxes.dtype)


def scaled(boxes: ArrayLike, factor: float) -> np.ndarray:
    """Return float64 boxes of either kind in an image that is scaled by a factor; none may be ``[]``."""
    array = np.asarray(boxes, "float64")
    size = 5 if array.shape[-1] == 5 else 4
    return stretch(array.reshape(-1, size), np.array([factor, factor]))


def shift(boxes: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return boxes of either kind moved by (x, y) pixels."""
    offset = [x, y, x, y] if boxes.shape[-1] == 4 else [x, y, 0, 0, 0]
    return boxes + np.array(offset, "float32")


def side_lengths(boxes: np.ndarray) -> np.ndarray:
    """Return the (..., 2) sides of boxes of either kind, pixels."""
    return boxes[..., 2:] - boxes[..., :2] if boxes.shape[-1] == 4 else boxes[..., 2:4]


def flip(boxes: np.ndarray, width: int) -> np.ndarray:
    """Return boxes of either kind in an image of a width that is mirrored left to right."""
    if boxes.shape[-1] == 4:
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    mirrored = boxes.copy()
    mirrored[:, 0], mirrored[:, 4] = width - boxes[:, 0], -boxes[:, 4]
    return mirrored


def flip_vertically(boxes: np.ndarray, height: int) -> np.ndarray:
    """Return boxes of either kind in an image of a height that is mirrored top to bottom."""
    if boxes.shape[-1] == 4:
        x1, y1, x2, y2 = boxes.T
        return np.stack([x1, height - y2, x2, height - y1], axis=1)
    mirrored = boxes.copy()
    mirrored[:, 1], mirrored[:, 4] = height - boxes[:, 1], -boxes[:, 4]
    return mirrored


def clip(boxes: np.ndarray, window: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return (G, 5) oriented boxes cut at a window x1, y1, x2, y2, and (G,) shares of area that remain.

    A cut box is the rectangle of the same angle around the part in the window; its corners may still lie
    outside. A box without such a part gets sides of 0. A second cut at the same window changes nothing.

    Example:
        >>> clip(np.array([[5.0, 5.0, 10.0, 4.0, 0.0]]), (0, 0, 5, 20))[0].tolist()
        [[2.5, 5.0, 5.0, 4.0, 0.0]]
    """
    x1, y1, x2, y2 = window
    around, clipped = outer(boxes), boxes.copy()
    crossing = (around < [x1, y1, x1, y1]).any(axis=1) | (around > [x2, y2, x2, y2]).any(axis=1)
    for row in np.flatnonzero(crossing):
        box = boxes[row].astype("float64")
        part = corners(box)
        for axis, limit, sign in ((0, x1, 1), (0, x2, -1), (1, y1, 1), (1, y2, -1)):
            part = _half(part, sign * (part[:, axis] - limit))
        if len(part) < 3:
            clipped[row, 2:4] = 0.0
            continue
        cos, sin = np.cos(box[4]), np.sin(box[4])
        frame = np.array([[cos, sin], [-sin, cos]])  # directions of the sides
        own = (part - box[:2]) @ frame.T
        low, high = own.min(axis=0), own.max(axis=0)
        clipped[row, :2], clipped[row, 2:4] = box[:2] + 0.5 * (low + high) @ frame, high - low
    areas = [np.prod(own[:, 2:4], axis=1) for own in (clipped, boxes)]
    return clipped, (areas[0] / np.maximum(areas[1], 1e-9)).astype("float32")


def _half(points: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return the part of a convex polygon (P, 2) where the distances (P,) from a line are positive."""
    kept = []
    for here, there, own, other in zip(
        points, np.roll(points, -1, axis=0), distances, np.roll(distances, -1)
    ):
        if own >= 0:
            kept.append(here)
        if own * other < 0:
            kept.append(here + (there - here) * (own / (own - other)))
    return np.array(kept).reshape(-1, 2)
