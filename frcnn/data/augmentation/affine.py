"""Flips, rotation and shear of an image and its boxes.

After a rotation, a box is the axis-aligned box around the rotated box. It is exact for a rectangular
object; for other objects it is too large, so the angles should be small. If the image's edge cuts a
rotated box, the new box is the axis-aligned box around the visible part. An oriented box is rotated with
its object. After a shear it is the rectangle of least area around the sheared box.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from frcnn.data import four_points, oriented
from frcnn.data.augmentation.example import Example
from frcnn.data.transforms import PADDING_RGB


def flip_vertically(example: Example) -> Example:
    """Mirror an example top to bottom."""
    height = example.image.shape[0]
    boxes = oriented.flip_vertically(example.boxes, height)
    return example.replace(image=cv2.flip(example.image, 0), boxes=boxes)


def matrix(size: tuple[int, int], angle: float, shear_x: float, shear_y: float) -> np.ndarray:
    """Return the (2, 3) matrix of a shear and then a rotation about an image's centre.

    Args:
        size: (width, height), pixels.
        angle: angle of the rotation, degrees, from the x axis to the y axis.
        shear_x, shear_y: angles by which vertical and horizontal edges are tilted, degrees.

    Returns:
        float64, for points (x, y, 1) in pixels; the first pixel goes from 0 to 1.
    """
    sheared = np.array([[1.0, math.tan(math.radians(shear_x))], [math.tan(math.radians(shear_y)), 1.0]])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    linear = np.array([[cos, -sin], [sin, cos]]) @ sheared
    centre = np.array(size) / 2
    return np.column_stack([linear, centre - linear @ centre])


def warp(example: Example, transform: np.ndarray) -> Example:
    """Apply a (2, 3) matrix of ``matrix`` to an image and its boxes. The image's size stays the same.

    Pixels from outside the image get the colour of the padding. Boxes are clipped, and boxes of which
    too little is visible are dropped.
    """
    height, width = example.image.shape[:2]
    # In OpenCV, 0 is the centre of the first pixel.
    half = np.array([0.5, 0.5])
    own = transform.copy()
    own[:, 2] += transform[:, :2] @ half - half
    image = cv2.warpAffine(
        example.image, own, (width, height), flags=cv2.INTER_LINEAR, borderValue=PADDING_RGB
    )
    if example.boxes.shape[-1] == 5:
        moved = oriented.corners(example.boxes.astype("float64")) @ transform[:, :2].T + transform[:, 2]
        boxes = np.array([four_points.least_rectangle(own) for own in moved], "float32").reshape(-1, 5)
        return example.replace(image=image, boxes=boxes).clipped()
    corners = example.boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (G, 4, 2)
    moved = (corners @ transform[:, :2].T + transform[:, 2]).astype("float32")
    boxes, visible = example.boxes.copy(), example.visible.copy()
    canvas = np.array([[0, 0], [width, 0], [width, height], [0, height]], "float32")
    for row, corner in enumerate(moved):
        area, inside = cv2.intersectConvexConvex(corner, canvas)
        points = corner if inside is None else inside[:, 0]
        boxes[row] = *points.min(axis=0), *points.max(axis=0)
        visible[row] *= area / max(cv2.contourArea(corner), 1e-9)
    # The boxes are already clipped; this drops boxes of which too little is visible.
    return example.replace(image=image, boxes=boxes, visible=visible).clipped()
