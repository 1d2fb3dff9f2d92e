"""Oriented boxes that a label file gives as four corners: DOTA, YOLO-OBB, four-point CSV and others.

The oriented box is the rectangle of least area around the corners. In most files the corners are those
of a rectangle, up to rounding; in DOTA many are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frcnn.data import oriented
from frcnn.data.box_checks import MIN_SIDE, check_units
from frcnn.data.outlines import Outline
from frcnn.errors import DataError
from frcnn.text import shown

SAME = 0.01  # pixels between corners of a rectangle and what a file has of them, rounded
FAR = 1e7  # no image has so many pixels in a row; also, NaN is not less


def to_pixels(
    points: Sequence[Sequence[float]], width: float, height: float, shares: bool = False
) -> np.ndarray:
    """Return the (4, 2) float64 corners of an object in pixels. They may lie outside the image.

    Args:
        points: x and y of the four corners, in order around the object.
        width, height: of the image, pixels; infinite if unknown.
        shares: whether the corners are fractions of the image, 0 to 1.

    Raises:
        DataError: a corner is no number or in other units; the rectangle is less than a pixel wide or
            high; its centre lies outside the image.

    Example:
        >>> to_pixels([(0.25, 0.5), (0.75, 0.5), (0.75, 1), (0.25, 1)], 40, 20, shares=True).tolist()
        [[10.0, 10.0], [30.0, 10.0], [30.0, 20.0], [10.0, 20.0]]
    """
    corners = np.array([[float(x), float(y)] for x, y in points])
    if not (np.abs(corners) < FAR).all():
        raise DataError(f"has the corners {shown(corners.tolist())}; expected eight numbers")
    values = corners.ravel().tolist()
    text = ", ".join(f"{value:g}" for value in values)
    check_units(values, shares, lambda: text)
    if not shares:
        pass
    elif math.isfinite(width):
        # Six digits of a share, as tools write, mean no more than a thousandth of a pixel.
        corners = np.round(corners * [width, height], 3)
    else:
        return corners
    x, y, *sides, _ = least_rectangle(corners).tolist()
    if min(sides) < MIN_SIDE - 1e-3:
        raise DataError(f"is less than {MIN_SIDE:g} pixel wide or high: {text}")
    if not (0 <= x <= width and 0 <= y <= height):
        raise DataError(f"has its centre outside the {width}x{height} image: {text}")
    return corners


def least_rectangle(corners: np.ndarray) -> np.ndarray:
    """Return the oriented box (5,) of least area around (P, 2) points, its angle within 45 degrees.

    Example:
        >>> least_rectangle(np.array([[2.0, 3.0], [12.0, 3.0], [12.0, 7.0], [2.0, 7.0]])).tolist()
        [7.0, 5.0, 10.0, 4.0, 0.0]
    """
    import cv2  # not above: every command's --help imports the readers

    middle = corners.mean(axis=0)  # OpenCV calculates in float32
    centre, (width, height), angle = cv2.minAreaRect((corners - middle).astype("float32"))
    turns = round(angle / 90.0)
    if turns % 2:
        width, height = height, width
    return np.array([*(middle + centre), width, height, math.radians(angle - 90.0 * turns)])


def outer(corners: np.ndarray, width: float, height: float) -> list[float]:
    """Return the axis-aligned box around (4, 2) corners, clipped to an image of a size in pixels."""
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return [max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)]


def outline(corners: np.ndarray, box: np.ndarray) -> Outline | None:
    """Return (4, 2) corners as a polygon; None where they are those of an oriented box (5,)."""
    return Outline((corners,)) if apart(corners, box) > SAME else None


def apart(corners: np.ndarray, box: np.ndarray) -> float:
    """Return how far (4, 2) corners are from those of an oriented box (5,): the largest of 4, pixels."""
    distances = np.linalg.norm(corners[:, None] - oriented.corners(box)[None], axis=2)
    return float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))
