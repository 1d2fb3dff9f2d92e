"""The exact IoU of oriented boxes, from the area of the intersection of two rectangles.

Take the coordinates in which the first rectangle is centred and axis-aligned: |x| <= X, |y| <= Y. By
Green's theorem, the area of its intersection with the second rectangle is the integral of
clamp(x, -X, X) dy along the second one's border, where |y| <= Y. For a straight side this integral has a
closed form, so the area is a sum over four sides. This needs no list of vertices, no sorting, and no
special case for sides that coincide. All shapes are fixed, so it compiles on every backend.
"""

from __future__ import annotations

from typing import Any

from keras import ops

Tensor = Any


def iou(boxes: Tensor, others: Tensor, xp: Any = ops) -> Tensor:
    """Return the IoU (intersection over union) of each oriented box with each of the others.

    Args:
        boxes: (..., N, 5) oriented boxes.
        others: (..., M, 5) oriented boxes.
        xp: ``keras.ops``, or numpy for arrays on the host.

    Returns:
        (..., N, M) in [0, 1]; 0 where one of the two boxes is empty.
    """
    # Not by an index with "...": tf2onnx cannot convert it where the boxes have no leading axis.
    boxes, others = xp.expand_dims(boxes, -2), xp.expand_dims(others, -3)
    area, other_area = (xp.maximum(b[..., 2], 0.0) * xp.maximum(b[..., 3], 0.0) for b in (boxes, others))
    smaller = xp.minimum(area, other_area)
    intersection = xp.minimum(xp.maximum(intersection_area(boxes, others, xp), 0.0), smaller)
    return intersection / xp.maximum(area + other_area - intersection, 1e-9)


def intersection_area(boxes: Tensor, others: Tensor, xp: Any = ops) -> Tensor:
    """Return the intersection areas (...,) of pairs of oriented boxes (..., 5), square pixels.

    Args:
        boxes, others: (..., 5).
        xp: ``keras.ops``, or numpy for arrays on the host.
    """
    x, y = boxes[..., 0] - others[..., 0], boxes[..., 1] - others[..., 1]
    cos, sin = xp.cos(others[..., 4]), xp.sin(others[..., 4])
    x, y = cos * x + sin * y, cos * y - sin * x
    turn = boxes[..., 4] - others[..., 4]
    cos, sin = 0.5 * xp.cos(turn), 0.5 * xp.sin(turn)
    along_x, along_y = boxes[..., 2] * cos, boxes[..., 2] * sin
    across_x, across_y = -boxes[..., 3] * sin, boxes[..., 3] * cos
    corners = [
        (x + i * along_x + j * across_x, y + i * along_y + j * across_y)
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    limits = 0.5 * others[..., 2], 0.5 * others[..., 3]
    pairs = zip(corners, corners[1:] + corners[:1])
    return sum(_integral(start, end, *limits, xp) for start, end in pairs)


def _integral(start, end, limit_x, limit_y, xp):
    """Return the integral of clamp(x) dy along a straight side, where |y| <= ``limit_y``.

    Args:
        start, end: the two ends of the side, each a pair of x (...,) and y (...,).
        limit_x: (...,); x is clamped to [-limit_x, limit_x].
        limit_y: (...,).
    """
    (x, y), step_x, step_y = start, end[0] - start[0], end[1] - start[1]

    def clamped(share):
        return xp.minimum(xp.maximum(x + share * step_x, -limit_x), limit_x)

    first, last = _inside(y, step_y, limit_y, 0.0, 1.0, xp)
    # clamp(x) is constant before the side enters |x| <= limit_x, linear inside, and constant after it.
    enter, leave = _inside(x, step_x, limit_x, first, last, xp)
    mean_inside = 0.5 * (clamped(enter) + clamped(leave))
    parts = (clamped(first), enter - first), (mean_inside, leave - enter), (clamped(last), last - leave)
    return step_y * sum(value * share for value, share in parts)


def _inside(start, step, limit, first, last, xp):
    """Return the shares t in [first, last] at which start + t * step enters and leaves [-limit, limit].

    The two are equal if it stays outside.
    """
    # A step of almost 0 is inside for all t or for none.
    step = xp.where(xp.abs(step) < 1e-9, 1e-9, step)
    one, other = (-limit - start) / step, (limit - start) / step
    enter = xp.minimum(xp.maximum(xp.minimum(one, other), first), last)
    leave = xp.minimum(xp.maximum(xp.maximum(one, other), first), last)
    return enter, leave
