"""Box geometry: the overlap of boxes, and the deltas that regression learns.

A box is ``[x1, y1, x2, y2]``, float32, in pixels of the network input, half-open: its width is
``x2 - x1``. All functions are pure. They take ``keras.ops`` tensors with any leading axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

Tensor = Any

# Upper limit of dw and dh in ``decode``, so that exp() cannot overflow: a box grows at most by a factor
# of 1000/16. Detectron has the same limit under this name.
BBOX_XFORM_CLIP = math.log(1000.0 / 16.0)

# Factors of dx, dy, dw and dh in the regression targets, so that the four have a similar spread. The
# RPN's are 1. The head's are 1 / (0.1, 0.1, 0.2, 0.2), the standard deviations that Fast R-CNN's code
# has for VOC.
RPN_DELTA_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
HEAD_DELTA_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def area(boxes: Tensor) -> Tensor:
    """Return the area (...,) of boxes (..., 4), square pixels; 0 where x2 <= x1 or y2 <= y1."""
    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return size[..., 0] * size[..., 1]


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU (intersection over union) of each box with each of the others.

    Args:
        boxes: (..., N, 4) boxes.
        others: (..., M, 4) boxes.

    Returns:
        (..., N, M) in [0, 1]; 0 where one of the two boxes is empty.
    """
    # Coordinate by coordinate: (N, M) planes are several times faster on a CPU than (N, M, 2).
    x1, y1, x2, y2 = (boxes[..., :, None, k] for k in range(4))
    other_x1, other_y1, other_x2, other_y2 = (others[..., None, :, k] for k in range(4))
    width = ops.minimum(x2, other_x2) - ops.maximum(x1, other_x1)
    height = ops.minimum(y2, other_y2) - ops.maximum(y1, other_y1)
    intersection = ops.maximum(width, 0.0) * ops.maximum(height, 0.0)
    union = area(boxes)[..., :, None] + area(others)[..., None, :] - intersection
    return ops.where(intersection > 0.0, intersection / ops.maximum(union, 1e-9), 0.0)


def giou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the generalized IoU (GIoU) of pairs of boxes.

    Rezatofighi et al. 2019: GIoU = IoU - (hull - union) / hull, in areas. The hull is the smallest box
    around both boxes.

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


def clip(boxes: Tensor, image_sizes: Tensor) -> Tensor:
    """Clip boxes to their images.

    Args:
        boxes: (B, N, 4) boxes.
        image_sizes: (B, 2) height and width of each image without its padding, pixels.

    Returns:
        (B, N, 4) boxes with 0 <= x <= width and 0 <= y <= height.
    """
    limits = ops.cast(image_sizes, boxes.dtype)
    limits = ops.stack([limits[:, 1], limits[:, 0]] * 2, axis=-1)[:, None, :]
    return ops.minimum(ops.maximum(boxes, 0.0), limits)


def encode(boxes: Tensor, references: Tensor, weights: Sequence[float] = RPN_DELTA_WEIGHTS) -> Tensor:
    """Return the deltas that turn reference boxes into boxes: the inverse of ``decode``.

    Ren et al. 2015, section 3.1.2, equation 2.

    Args:
        boxes: (..., 4). The deltas of an empty box, such as padding, are finite but have no meaning.
        references: (..., 4) anchors or proposals.
        weights: factors of dx, dy, dw and dh.

    Returns:
        (..., 4) dx, dy in widths and heights of the reference; dw, dh natural logarithms.
    """
    size = ops.maximum(references[..., 2:] - references[..., :2], 1e-6)
    box_size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
    shift = (boxes[..., :2] + 0.5 * box_size - references[..., :2] - 0.5 * size) / size
    growth = ops.log(box_size / size)
    return ops.concatenate([shift, growth], axis=-1) * ops.convert_to_tensor(weights, "float32")


def decode(deltas: Tensor, references: Tensor, weights: Sequence[float] = RPN_DELTA_WEIGHTS) -> Tensor:
    """Move and stretch reference boxes by deltas: the inverse of ``encode``.

    Ren et al. 2015, section 3.1.2, equation 2. Unlike the paper, dw and dh are at most
    ``BBOX_XFORM_CLIP``.

    Args:
        deltas: (..., 4) as ``encode`` returns them.
        references: (..., 4) anchors or proposals.
        weights: the factors that ``encode`` was given.

    Returns:
        (..., 4) boxes, not clipped to the image.
    """
    deltas = deltas / ops.convert_to_tensor(weights, "float32")
    size = references[..., 2:] - references[..., :2]
    centre = references[..., :2] + 0.5 * size
    centre = centre + deltas[..., :2] * size
    size = size * ops.exp(ops.minimum(deltas[..., 2:], BBOX_XFORM_CLIP))
    return ops.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)
