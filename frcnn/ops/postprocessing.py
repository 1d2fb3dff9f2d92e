"""Detections from the classifier's outputs.

B: images, R: RoIs, C: classes with background last, M: detections at most, E: numbers per box, D:
numbers per regression.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

from frcnn.backend import map_images
from frcnn.ops import boxes as box_ops
from frcnn.ops.box_kinds import AXIS_ALIGNED, BoxKind
from frcnn.ops.soft_nms import soft_nms_by_class

Tensor = Any


def postprocess(
    rois: Tensor,
    scores: Tensor,
    deltas: Tensor,
    image_sizes: Tensor,
    delta_weights: tuple[float, ...] = box_ops.HEAD_DELTA_WEIGHTS,
    score_threshold: float = 0.05,
    min_size: float = 0.0,
    nms_iou: float = 0.3,
    max_detections: int = 100,
    labels_to_detect: tuple[int, ...] = (),
    kind: BoxKind = AXIS_ALIGNED,
    soft_nms_sigma: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the detections of each image, best first.

    Each RoI may become one detection per object class, with the box of that class.

    Args:
        rois: (B, R, E); empty boxes are padding.
        scores: (B, R, C) class scores, a softmax: those of a RoI sum to 1.
        deltas: (B, R, (C-1)·D).
        image_sizes: (B, 2) height and width without padding, pixels.
        delta_weights: factors of dx, dy, dw, dh in the targets.
        score_threshold: detections whose score is not above this are dropped.
        min_size: narrower or lower detections are dropped, pixels.
        nms_iou: a detection is dropped if its IoU with a better one of its class is above this.
        max_detections: M.
        labels_to_detect: detections of other classes are dropped; empty: all classes are kept.
        kind: kind of the boxes.
        soft_nms_sigma: if above 0, soft-NMS takes the place of NMS (``frcnn.ops.soft_nms``).

    Returns:
        boxes (B, M, E), scores (B, M), labels (B, M) int32. Padding: score 0, label -1.
    """
    classes = scores.shape[-1] - 1
    batch, count = ops.shape(rois)[0], ops.shape(rois)[1]
    deltas = ops.reshape(deltas, (batch, count, classes, kind.head_dim))
    boxes = kind.decode(deltas, rois[:, :, None, :], delta_weights)
    boxes = kind.clip(ops.reshape(boxes, (batch, count * classes, kind.size)), image_sizes)
    sides = kind.sides(boxes)
    exists = ops.repeat(kind.area(rois) > 0.0, classes, axis=1)
    exists = exists & ops.all((sides > 0.0) & (sides >= min_size), axis=-1)
    scores = scores[..., :classes]
    if labels_to_detect:
        asked = ops.array([label in labels_to_detect for label in range(classes)])
        scores = ops.where(asked, scores, 0.0)
    scores = ops.reshape(scores, (batch, count * classes))
    scores = ops.where(exists & (scores > score_threshold), scores, 0.0)
    # A dropped detection becomes an empty box, which suppresses nothing.
    boxes = ops.where(scores[..., None] > 0.0, boxes, 0.0)
    labels = ops.tile(ops.cast(ops.arange(classes), "int32"), (batch, count))
    most = classes_above(score_threshold, classes) * (rois.shape[1] or 0)
    if 0 < most < scores.shape[1]:
        # 80 classes and 1000 RoIs are 80,000 boxes, of which fewer than 20,000 score above 0.05. NMS on
        # a GPU keeps one bit per pair of boxes: 800 MB for all of them.
        scores, best = ops.top_k(scores, most)
        boxes = ops.take_along_axis(boxes, best[..., None], axis=1)
        labels = ops.take_along_axis(labels, best, axis=1)

    def suppress(image):
        image_boxes, image_scores, image_labels = image
        if soft_nms_sigma:
            options = soft_nms_sigma, score_threshold, max_detections, kind.iou
            kept, kept_scores = soft_nms_by_class(*image, *options)
            index = ops.maximum(kept, 0)
        else:
            kept = kind.nms_by_class(image_boxes, image_scores, image_labels, nms_iou, max_detections)
            index = ops.maximum(kept, 0)
            kept_scores = ops.where(kept >= 0, ops.take(image_scores, index), 0.0)
        kept_labels = ops.where(kept_scores > 0.0, ops.take(image_labels, index), -1)
        return ops.take(image_boxes, index, axis=0), kept_scores, kept_labels

    return map_images(suppress, (boxes, scores, labels))


def classes_above(score: float, classes: int) -> int:
    """Return how many classes of one RoI can have scores above a threshold, as all scores sum to 1.

    Example:
        >>> classes_above(0.05, 80), classes_above(0.0, 80)
        (20, 80)
    """
    # A softmax sums to 1 only up to rounding.
    return classes if score <= 0.0 else min(classes, math.floor(1.001 / score))
