"""The exact overlap of oriented boxes: the area in which two rectangles intersect.

In the frame in which one rectangle is centred and upright, |x| <= X and |y| <= Y, the area that another
shape shares with it is the integral of 1 over the shape where both hold. By Green's theorem that is the
integral of clamp(x, -X, X) dy along the shape's border where |y| <= Y. Along one straight side this has
a closed form, so four sides give the area. There is no list of vertices, no sorting and no special case
for sides that coincide. All shapes are fixed, so that it compiles on every backend.
"""

from keras import ops


def iou(boxes, others, xp=ops):
    """Return how much each oriented box overlaps each other one.

    Args:
        boxes: (..., N, 5) oriented boxes.
        others: (..., M, 5) oriented boxes.
        xp: ``keras.ops``, or numpy for arrays on the host.

    Returns:
        (..., N, M) intersection over union in [0, 1]; 0 where either box is empty.
    """
    boxes, others = boxes[..., :, None, :], others[..., None, :, :]
    area, other_area = (xp.maximum(b[..., 2], 0.0) * xp.maximum(b[..., 3], 0.0) for b in (boxes, others))
    smaller = xp.minimum(area, other_area)
    intersection = xp.minimum(xp.maximum(intersection_area(boxes, others, xp), 0.0), smaller)
    return intersection / xp.maximum(area + other_area - intersection, 1e-9)


def intersection_area(boxes, others, xp=ops):
    """Return the (...,) area in square pixels that (..., 5) oriented boxes and others share."""
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
        start, end: x and y, each (...,), of its ends.
        limit_x: (...,) to which x is clamped, and its negative.
        limit_y: (...,).
    """
    (x, y), step_x, step_y = start, end[0] - start[0], end[1] - start[1]

    def clamped(share):
        return xp.minimum(xp.maximum(x + share * step_x, -limit_x), limit_x)

    first, last = _inside(y, step_y, limit_y, 0.0, 1.0, xp)
    # x is clamped to one value before it enters the other box, linear inside, and again one value after.
    enter, leave = _inside(x, step_x, limit_x, first, last, xp)
    mean_inside = 0.5 * (clamped(enter) + clamped(leave))
    parts = (clamped(first), enter - first), (mean_inside, leave - enter), (clamped(last), last - leave)
    return step_y * sum(value * share for value, share in parts)


def _inside(start, step, limit, first, last, xp):
    """Return at which shares, from ``first`` to ``last``, a step enters and leaves -limit..limit.

    The two are equal if it does not enter.
    """
    # A step along the limit is inside at all shares or at none.
    step = xp.where(xp.abs(step) < 1e-9, 1e-9, step)
    one, other = (-limit - start) / step, (limit - start) / step
    enter = xp.minimum(xp.maximum(xp.minimum(one, other), first), last)
    leave = xp.minimum(xp.maximum(xp.maximum(one, other), first), last)
    return enter, leave
