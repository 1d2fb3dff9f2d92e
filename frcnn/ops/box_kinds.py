"""The two kinds of boxes, axis-aligned and oriented, with their geometry, deltas and NMS.

The network's layers, the targets and the sampling work with both kinds: they take a ``BoxKind`` and call
its functions. ``axis_aligned`` is Ren et al. 2015; ``oriented`` is Xie et al. 2021 ("Oriented R-CNN").

E: numbers per box, D: numbers per box regression.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from frcnn.backend import on_cpu
from frcnn.ops import boxes as box_ops
from frcnn.ops import oriented_boxes, oriented_iou
from frcnn.ops.nms import blocked_nms, nms, nms_by_class

Tensor = Any

# NMS of oriented detections takes only this many of an image, the best: their exact IoU is slow.
MOST_ORIENTED_CANDIDATES = 1000
# Positive anchors are padded to a multiple of this number, so that few shapes are compiled.
ENCODED_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class BoxKind:
    """The functions and sizes of one kind of boxes. Anchors are axis-aligned, (..., 4), for both kinds.

    Attributes:
        name: value of the setting ``box.kind``.
        size: E.
        rpn_dim: D of the RPN.
        head_dim: D of the classifier.
        rpn_bias: D initial deltas of the RPN.
        area: from (..., E) to (...,), square pixels.
        sides: from (..., E) to (..., 2) width and height, pixels.
        iou: from (..., N, E) and (..., M, E) to (..., N, M).
        clip: from (B, N, E) and image sizes (B, 2), height and width in pixels, to clipped (B, N, E).
        outer: from (..., E) to (..., 4), the smallest axis-aligned boxes around them.
        encode_anchors: from numpy (P, E) boxes and (P, 4) anchors to (P, D) deltas of the RPN.
        decode_anchors: from (..., D) deltas and (..., 4) anchors to (..., E).
        encode: from (..., E) boxes, (..., E) references and four delta weights to (..., D).
        decode: from (..., D) deltas, (..., E) references and four delta weights to (..., E).
        nms: NMS of proposals, with the arguments of ``frcnn.ops.nms.nms``.
        nms_by_class: NMS of detections, with the arguments of ``frcnn.ops.nms.nms_by_class``.
    """

    name: str
    size: int
    rpn_dim: int
    head_dim: int
    rpn_bias: tuple[float, ...]
    area: Callable[..., Tensor]
    sides: Callable[..., Tensor]
    iou: Callable[..., Tensor]
    clip: Callable[..., Tensor]
    outer: Callable[..., Tensor]
    encode_anchors: Callable[..., np.ndarray]
    decode_anchors: Callable[..., Tensor]
    encode: Callable[..., Tensor]
    decode: Callable[..., Tensor]
    nms: Callable[..., Tensor]
    nms_by_class: Callable[..., Tensor]


def _encode_anchors(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the (P, 4) deltas from (P, 4) anchors to (P, 4) boxes: ``boxes.encode`` in numpy."""
    size = np.maximum(anchors[:, 2:] - anchors[:, :2], 1e-6)
    box_size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    shift = (boxes[:, :2] + 0.5 * box_size - anchors[:, :2] - 0.5 * size) / size
    return np.concatenate([shift, np.log(box_size / size)], axis=1)


def _encode_midpoints(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Return the (P, 6) midpoint offsets from (P, 4) anchors to (P, 5) boxes. It runs on the CPU."""
    count = len(boxes)
    padding = ((0, -count % ENCODED_AT_ONCE if count else ENCODED_AT_ONCE), (0, 0))
    with on_cpu():
        deltas = oriented_boxes.encode_midpoints(
            np.pad(boxes, padding).astype("float32"), np.pad(anchors, padding).astype("float32")
        )
        return ops.convert_to_numpy(deltas)[:count]


def _nms_of_outer_boxes(boxes, scores, iou_threshold, max_output):
    """Apply NMS to oriented proposals by the IoU of their outer boxes, as the authors' code does."""
    outer = ops.where(
        oriented_boxes.area(boxes)[..., None] > 0.0, oriented_boxes.outer_boxes(boxes), 0.0
    )
    return nms(outer, scores, iou_threshold, max_output)


def _oriented_nms_by_class(boxes, scores, labels, iou_threshold, max_output):
    """Apply NMS per class to the ``MOST_ORIENTED_CANDIDATES`` best oriented detections, by exact IoU."""
    # Padded with empty boxes, because the number of boxes may be unknown while a graph is traced.
    most = MOST_ORIENTED_CANDIDATES
    scores, index = ops.top_k(ops.concatenate([scores, ops.zeros((most,), scores.dtype)]), most)
    boxes = ops.take(ops.concatenate([boxes, ops.zeros((most, 5), boxes.dtype)]), index, axis=0)
    labels = ops.take(ops.concatenate([labels, ops.zeros((most,), labels.dtype)]), index)
    extent = ops.max(ops.abs(boxes[:, :2])) + ops.max(boxes[:, 2:4]) + 1.0
    offset = 4.0 * ops.cast(labels, boxes.dtype)[:, None] * extent  # see nms.nms_by_class
    moved = ops.concatenate([boxes[:, :2] + offset, boxes[:, 2:]], axis=-1)
    kept = blocked_nms(moved, scores, iou_threshold, max_output, oriented_iou.iou)
    chosen = ops.where(scores > 0.0, ops.cast(index, "int32"), -1)
    return ops.where(kept >= 0, ops.take(chosen, ops.maximum(kept, 0)), -1)


AXIS_ALIGNED = BoxKind(
    name="axis_aligned",
    size=4,
    rpn_dim=4,
    head_dim=4,
    rpn_bias=(0.0,) * 4,
    area=box_ops.area,
    sides=lambda boxes: boxes[..., 2:] - boxes[..., :2],
    iou=box_ops.iou,
    clip=box_ops.clip,
    outer=lambda boxes: boxes,
    encode_anchors=_encode_anchors,
    decode_anchors=box_ops.decode,
    encode=box_ops.encode,
    decode=box_ops.decode,
    nms=nms,
    nms_by_class=nms_by_class,
)

ORIENTED = BoxKind(
    name="oriented",
    size=5,
    rpn_dim=6,
    head_dim=5,
    rpn_bias=oriented_boxes.AXIS_ALIGNED_DELTAS,
    area=oriented_boxes.area,
    sides=lambda boxes: boxes[..., 2:4],
    iou=oriented_iou.iou,
    clip=oriented_boxes.clip,
    outer=oriented_boxes.outer_boxes,
    encode_anchors=_encode_midpoints,
    decode_anchors=oriented_boxes.decode_midpoints,
    encode=oriented_boxes.encode,
    decode=oriented_boxes.decode,
    nms=_nms_of_outer_boxes,
    nms_by_class=_oriented_nms_by_class,
)

BOX_KINDS = {kind.name: kind for kind in (AXIS_ALIGNED, ORIENTED)}
