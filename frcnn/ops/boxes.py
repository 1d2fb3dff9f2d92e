"""Box geometry: the overlap of boxes, and the deltas that regression learns.

A box is ``[x1, y1, x2, y2]``, float32, in pixels of the network input, half-open: its width is
``x2 - x1``. Everything here is a pure function on ``keras.ops`` tensors of any leading shape; nothing
knows of anchors, images or models.
"""

import math

from keras import ops

# exp() of a larger size delta would overflow; 1000/16 is the largest growth a box can need
# (Detectron, `BBOX_XFORM_CLIP`).
BBOX_XFORM_CLIP = math.log(1000.0 / 16.0)

# Deltas are multiplied by these before they are learnt, so that the four have a similar spread.
# The RPN learns them as they are; the head's are the inverse standard deviations that Fast R-CNN
# found on VOC, (0.1, 0.1, 0.2, 0.2).
RPN_DELTA_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
HEAD_DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def area(boxes):
    """Return the (...,) area in square pixels of (..., 4) boxes; inverted boxes have none."""
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def iou(boxes, others):
    """Return how much each box overlaps each other box.

    Args:
        boxes: (..., N, 4) boxes.
        others: (..., M, 4) boxes.

    Returns:
        (..., N, M) intersection over union in [0, 1]; 0 where either box is empty.
    """
    # Coordinate by coordinate: (N, M) planes are several times faster on a CPU than (N, M, 2).
    x1, y1, x2, y2 = (boxes[..., :, None, k] for k in range(4))
    other_x1, other_y1, other_x2, other_y2 = (others[..., None, :, k] for k in range(4))
    width = ops.minimum(x2, other_x2) - ops.maximum(x1, other_x1)
    height = ops.minimum(y2, other_y2) - ops.maximum(y1, other_y1)
    intersection = ops.maximum(width, 0.0) * ops.maximum(height, 0.0)
    union = area(boxes)[..., :, None] + area(others)[..., None, :] - intersection
    return ops.where(intersection > 0.0, intersection / ops.maximum(union, 1e-9), 0.0)


def giou(boxes, others):
    """Return the generalized IoU of boxes and as many others, pair by pair.

    Rezatofighi et al. 2019: IoU less the share of the hull of both that neither covers.

    Args:
        boxes, others: (..., 4) boxes with area.

    Returns:
        (...,) in (-1, 1].
    """
    inner = [ops.maximum(boxes[..., :2], others[..., :2]), ops.minimum(boxes[..., 2:], others[..., 2:])]
    outer = [ops.minimum(boxes[..., :2], others[..., :2]), ops.maximum(boxes[..., 2:], others[..., 2:])]
    intersection, hull = (area(ops.concatenate(corners, axis=-1)) for corners in (inner, outer))
    union = area(boxes) + area(others) - intersection
    return intersection / ops.maximum(union, 1e-9) - (hull - union) / ops.maximum(hull, 1e-9)


def clip(boxes, image_sizes):
    """Move what sticks out of an image onto its edge.

    Args:
        boxes: (B, N, 4) boxes.
        image_sizes: (B, 2) height and width of each image without its padding, pixels.

    Returns:
        (B, N, 4) boxes with 0 <= x <= width and 0 <= y <= height.
    """
    limits = ops.cast(image_sizes, boxes.dtype)
    limits = ops.stack([limits[:, 1], limits[:, 0]] * 2, axis=-1)[:, None, :]
    return ops.minimum(ops.maximum(boxes, 0.0), limits)


def encode(boxes, references, weights=RPN_DELTA_WEIGHTS):
    """Return the deltas that turn reference boxes into boxes: the inverse of ``decode``.

    Ren et al. 2015, section 3.1.2, equation 2.

    Args:
        boxes: (..., 4) boxes with area; an empty one gives deltas that are finite and meaningless,
            so that padding can be masked afterwards.
        references: (..., 4) anchors or proposals.
        weights: what dx, dy, dw and dh are multiplied by.

    Returns:
        (..., 4) dx, dy in widths and heights of the reference; dw, dh natural logarithms.
    """
    size = ops.maximum(references[..., 2:] - references[..., :2], 1e-6)
    box_size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    shift = (boxes[..., :2] + 0.5 * box_size - references[..., :2] - 0.5 * size) / size
    growth = ops.log(box_size / size)
    return ops.concatenate([shift, growth], axis=-1) * ops.convert_to_tensor(weights, "float32")


def decode(deltas, references, weights=RPN_DELTA_WEIGHTS):
    """Move and stretch reference boxes by deltas: the inverse of ``encode``.

    Ren et al. 2015, section 3.1.2, equation 2, with the size deltas clipped at
    ``BBOX_XFORM_CLIP``, which the paper does not do.

    Args:
        deltas: (..., 4) as ``encode`` returns them.
        references: (..., 4) anchors or proposals.
        weights: those that the deltas were encoded with.

    Returns:
        (..., 4) boxes, not clipped to any image.
    """
    deltas = deltas / ops.convert_to_tensor(weights, "float32")
    size = references[..., 2:] - references[..., :2]
    centre = references[..., :2] + 0.5 * size
    centre = centre + deltas[..., :2] * size
    size = size * ops.exp(ops.minimum(deltas[..., 2:], BBOX_XFORM_CLIP))
    return ops.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)
