"""Geometry of oriented boxes, and the deltas that oriented detectors learn.

An oriented box is ``[cx, cy, w, h, angle]``, float32: its centre and the lengths of its sides in pixels
of the network input, and the angle in radians from the x axis to the side of length ``w``. Angles grow
from the x axis to the y axis (clockwise on the screen). In the canonical form ``w >= h`` and
``-pi/2 <= angle < pi/2``.

The RPN learns the midpoint offsets of Xie et al. 2021 ("Oriented R-CNN"), section 3.1: 6 numbers from an
axis-aligned anchor to an oriented box. The head learns 5 numbers from one oriented box to another. All
functions are pure. They take ``keras.ops`` tensors with any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from frcnn.ops import boxes as box_ops

Tensor = Any

# Factors of the RPN's six deltas in the targets: 1 / standard deviations of Xie et al. 2021.
MIDPOINT_DELTA_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 2.0, 2.0)

# The deltas for which ``decode_midpoints`` returns the anchor itself: da = db = 0.5, times their factor.
# The RPN predicts them at first.
AXIS_ALIGNED_DELTAS = (0.0, 0.0, 0.0, 0.0, 1.0, 1.0)

# Factor of the head's fifth delta, the angle, in the targets: 1 / 0.1. The first four factors are those
# of axis-aligned boxes.
TURN_WEIGHT = 10.0

# A box counts as axis-aligned if its two top vertices differ in y, and its two rightmost vertices in x,
# by less than this, pixels. Otherwise rounding would choose between da = db = -0.5 and da = db = 0.5.
# The authors' code tests da and db separately, which turns a thin, slightly rotated box into a
# parallelogram without area.
AXIS_ALIGNED = 0.1


def area(boxes: Tensor) -> Tensor:
    """Return the area (...,) of oriented boxes (..., 5), square pixels; 0 where a side is negative."""
    size = ops.maximum(boxes[..., 2:4], 0.0)
    return size[..., 0] * size[..., 1]


def canonical(boxes: Tensor) -> Tensor:
    """Return oriented boxes (..., 5) in the canonical form: ``w >= h`` and ``-pi/2 <= angle < pi/2``.

    The rectangles stay the same: after a quarter turn the sides are swapped, and a half turn changes
    nothing.
    """
    width, height, angle = boxes[..., 2], boxes[..., 3], boxes[..., 4]
    angle = ops.where(width >= height, angle, angle + 0.5 * math.pi)
    angle = angle - math.pi * ops.floor(angle / math.pi + 0.5)
    sides = [ops.maximum(width, height), ops.minimum(width, height), angle]
    return ops.concatenate([boxes[..., :2], ops.stack(sides, axis=-1)], axis=-1)


def corners(boxes: Tensor) -> Tensor:
    """Return the corners (..., 4, 2), x and y, of oriented boxes (..., 5), in order around the box."""
    cos, sin = ops.cos(boxes[..., 4]), ops.sin(boxes[..., 4])
    half_width, half_height = 0.5 * boxes[..., 2], 0.5 * boxes[..., 3]
    along = ops.stack([cos * half_width, sin * half_width], axis=-1)
    across = ops.stack([-sin * half_height, cos * half_height], axis=-1)
    offsets = [-along - across, along - across, along + across, across - along]
    return boxes[..., None, :2] + ops.stack(offsets, axis=-2)


def outer_boxes(boxes: Tensor) -> Tensor:
    """Return the smallest axis-aligned boxes (..., 4) around oriented boxes (..., 5)."""
    points = corners(boxes)
    return ops.concatenate([ops.min(points, axis=-2), ops.max(points, axis=-2)], axis=-1)


def upright(boxes: Tensor) -> Tensor:
    """Rotate oriented boxes (..., 5) about their centres to angle 0: axis-aligned boxes (..., 4)."""
    return ops.concatenate(
        [boxes[..., :2] - 0.5 * boxes[..., 2:4], boxes[..., :2] + 0.5 * boxes[..., 2:4]], axis=-1
    )


def clip(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Move the centres of oriented boxes (B, N, 5) into their images. Corners may still lie outside.

    A clipped rectangle would no longer be a rectangle. The authors do not clip either.

    Args:
        boxes: (B, N, 5).
        image_sizes: (B, 2) height and width of each image without its padding, pixels.
    """
    limits = ops.cast(image_sizes, boxes.dtype)[:, None, ::-1]
    centres = ops.minimum(ops.maximum(boxes[..., :2], 0.0), limits)
    return ops.concatenate([centres, boxes[..., 2:]], axis=-1)


def encode_midpoints(
    boxes: Tensor, anchors: Tensor, weights: Sequence[float] = MIDPOINT_DELTA_WEIGHTS
) -> Tensor:
    """Return the midpoint offsets from anchors to oriented boxes: the inverse of ``decode_midpoints``.

    Xie et al. 2021, section 3.1.1. The first four deltas are ``boxes.encode`` of the outer box g, with
    centre (gx, gy) and sides gw, gh. The top vertex of the oriented box lies on g's upper side at
    x = ga, and the rightmost vertex on g's right side at y = gb. Then da = (ga - gx) / gw and
    db = (gb - gy) / gh, both in [-0.5, 0.5].

    Args:
        boxes: (..., 5) oriented boxes with area.
        anchors: (..., 4) axis-aligned boxes.
        weights: factors of the six deltas.

    Returns:
        (..., 6) dx, dy, dw, dh, da, db. An axis-aligned box has da = db = 0.5.
    """
    points, outer = corners(boxes), outer_boxes(boxes)
    x, y = points[..., 0], points[..., 1]
    size = ops.maximum(outer[..., 2:] - outer[..., :2], 1e-6)
    centre = outer[..., :2] + 0.5 * size
    top = ops.max(ops.where(y == outer[..., None, 1], x, -float("inf")), axis=-1)
    right = ops.max(ops.where(x == outer[..., None, 2], y, -float("inf")), axis=-1)
    midpoints = (ops.stack([top, right], axis=-1) - centre) / size
    from_top, from_left = ops.sort(y, axis=-1), ops.sort(x, axis=-1)
    tilt = ops.maximum(from_top[..., 1] - from_top[..., 0], from_left[..., 3] - from_left[..., 2])
    midpoints = ops.where(tilt[..., None] < AXIS_ALIGNED, 0.5, midpoints)
    deltas = box_ops.encode(outer, anchors)
    deltas = ops.concatenate([deltas, midpoints], axis=-1)
    return deltas * ops.convert_to_tensor(weights, "float32")


def decode_midpoints(
    deltas: Tensor, anchors: Tensor, weights: Sequence[float] = MIDPOINT_DELTA_WEIGHTS
) -> Tensor:
    """Return the oriented boxes of anchors and midpoint offsets: the inverse of ``encode_midpoints``.

    Xie et al. 2021, section 3.1.2. The offsets give a parallelogram. Its shorter half-diagonal is
    stretched to the length of the longer one, which makes it a rectangle.

    Args:
        deltas: (..., 6).
        anchors: (..., 4) axis-aligned boxes.
        weights: the factors that ``encode_midpoints`` was given.

    Returns:
        (..., 5) oriented boxes in the canonical form, not clipped to the image.
    """
    deltas = deltas / ops.convert_to_tensor(weights, "float32")
    outer = box_ops.decode(deltas[..., :4], anchors)
    size = outer[..., 2:] - outer[..., :2]
    centre = outer[..., :2] + 0.5 * size
    midpoints = ops.clip(deltas[..., 4:], -0.5, 0.5) * size
    to_top = ops.stack([midpoints[..., 0], -0.5 * size[..., 1]], axis=-1)
    to_right = ops.stack([0.5 * size[..., 0], midpoints[..., 1]], axis=-1)
    lengths = [ops.sqrt(ops.sum(half * half, axis=-1, keepdims=True)) for half in (to_top, to_right)]
    longest = ops.maximum(*lengths)
    to_top, to_right = (
        half * longest / ops.maximum(length, 1e-6) for half, length in zip((to_top, to_right), lengths)
    )
    # Two neighbouring sides of the rectangle: top to right, and right to bottom.
    side, next_side = to_right - to_top, -to_top - to_right
    width, height = (ops.sqrt(ops.sum(edge * edge, axis=-1)) for edge in (side, next_side))
    angle = ops.arctan2(side[..., 1], side[..., 0])
    return canonical(ops.concatenate([centre, ops.stack([width, height, angle], axis=-1)], axis=-1))


def encode(
    boxes: Tensor, references: Tensor, weights: Sequence[float] = box_ops.HEAD_DELTA_WEIGHTS
) -> Tensor:
    """Return the deltas from reference boxes to oriented boxes: the inverse of ``decode``.

    dx and dy are measured along the sides of the reference. A rectangle can be written as (w, h, angle)
    or as (h, w, angle + pi/2). The form whose angle is nearer to the reference's angle is taken. Then
    dtheta is at most pi/4, and a small change of the box changes the deltas only a little.

    Args:
        boxes: (..., 5). The deltas of an empty box are finite but have no meaning.
        references: (..., 5) oriented boxes.
        weights: factors of dx, dy, dw and dh; the factor of dtheta is ``TURN_WEIGHT``.

    Returns:
        (..., 5) dx, dy in widths and heights of the reference; dw, dh natural logarithms; dtheta in
        radians.
    """
    quarter = 0.5 * math.pi
    turn = boxes[..., 4] - references[..., 4]
    quarters = ops.floor(turn / quarter + 0.5)
    is_swapped = quarters - 2.0 * ops.floor(0.5 * quarters) == 1.0
    turn = turn - quarters * quarter
    sides = ops.maximum(boxes[..., 2:4], 1e-6)
    sides = ops.where(is_swapped[..., None], sides[..., ::-1], sides)
    size = ops.maximum(references[..., 2:4], 1e-6)
    shift = _turned(boxes[..., :2] - references[..., :2], -references[..., 4]) / size
    deltas = ops.concatenate([shift, ops.log(sides / size), turn[..., None]], axis=-1)
    return deltas * ops.convert_to_tensor((*weights, TURN_WEIGHT), "float32")


def decode(
    deltas: Tensor, references: Tensor, weights: Sequence[float] = box_ops.HEAD_DELTA_WEIGHTS
) -> Tensor:
    """Move, stretch and rotate oriented boxes by deltas: the inverse of ``encode``.

    Args:
        deltas: (..., 5) as ``encode`` returns them.
        references: (..., 5) oriented boxes.
        weights: the factors that ``encode`` was given.

    Returns:
        (..., 5) oriented boxes in the canonical form, not clipped to the image.
    """
    deltas = deltas / ops.convert_to_tensor((*weights, TURN_WEIGHT), "float32")
    size = references[..., 2:4]
    centre = references[..., :2] + _turned(deltas[..., :2] * size, references[..., 4])
    size = size * ops.exp(ops.minimum(deltas[..., 2:4], box_ops.BBOX_XFORM_CLIP))
    angle = references[..., 4:] + deltas[..., 4:]
    return canonical(ops.concatenate([centre, size, angle], axis=-1))


def _turned(vectors, angle):
    """Rotate vectors (..., 2) by angles (...,) in radians, from the x axis to the y axis."""
    cos, sin = ops.cos(angle), ops.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return ops.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
