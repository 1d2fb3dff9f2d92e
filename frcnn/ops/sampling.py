"""Sampling of the anchors and the RoIs that a step trains on.

Ren et al. 2015, section 3.1.3 (256 anchors, at most half of them positive) and Girshick 2015 (Fast
R-CNN), section 2.3 (128 RoIs, a quarter positive).

The caller passes ``order``, a random permutation of the candidates, and the first candidates in this
order are sampled. So the functions draw no random numbers and give the same sample on every backend.
``sample_anchors`` uses numpy, as ``match_anchors`` does; ``sample_rois`` runs inside a compiled step.

B: images, N: anchors, P: proposals, G: ground-truth boxes (padded), R: RoIs, E: numbers per box.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE
from frcnn.ops.box_kinds import AXIS_ALIGNED, BoxKind

Tensor = Any


def random_order(
    generator: np.random.Generator | list[np.random.Generator], batch: int, count: int
) -> np.ndarray:
    """Return (batch, count) int32: a random permutation of 0..count-1 in each row.

    Args:
        generator: one generator for all rows, or a list with one per row.
        batch, count: shape of the result.
    """
    if isinstance(generator, list):
        return np.concatenate([random_order(one, 1, count) for one in generator])
    return generator.permuted(np.tile(np.arange(count, dtype="int32"), (batch, 1)), axis=1)


def sample_anchors(
    labels: np.ndarray, order: np.ndarray, samples: int = 256, positive_fraction: float = 0.5
) -> np.ndarray:
    """Keep the labels of the sampled anchors, and set all others to IGNORED. It uses numpy.

    Args:
        labels: (B, N) int32 POSITIVE, NEGATIVE or IGNORED.
        order: (B, N) int32, a random permutation in each row.
        samples: number of anchors to sample per image.
        positive_fraction: at most this share of the sampled anchors is positive; the others are
            negative.

    Returns:
        (B, N) int32 labels. Fewer than ``samples`` are not IGNORED only where an image has too few
        positive and negative anchors.
    """
    kept = np.full_like(labels, IGNORED)
    for kept_row, label_row, order_row in zip(kept, labels, order):
        positive = _first_of(label_row == POSITIVE, order_row, int(samples * positive_fraction))
        kept_row[positive] = POSITIVE
        kept_row[_first_of(label_row == NEGATIVE, order_row, samples - len(positive))] = NEGATIVE
    return kept


def _first_of(candidates, order, count):
    """Return the indices of the ``count`` candidates, (N,) bool, that come first in ``order`` (N,)."""
    index = np.flatnonzero(candidates)
    if len(index) <= count:
        return index
    own = order[index]
    return index[own < np.partition(own, count)[count]]


def sample_rois(
    proposals: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    order: Tensor,
    samples: int = 128,
    positive_fraction: float = 0.25,
    positive_iou: float = 0.5,
    negative_iou_low: float = 0.0,
    kind: BoxKind = AXIS_ALIGNED,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sample the RoIs that the classifier trains on, from the proposals and the ground-truth boxes.

    Args:
        proposals: (B, P, E); empty boxes are padding.
        gt_boxes: (B, G, E).
        gt_labels: (B, G) int32 object class; -1 is padding.
        order: (B, P + G) int32, a random permutation in each row.
        samples: R.
        positive_fraction: at most this share of the RoIs is positive; the others are negative.
        positive_iou: a RoI is positive if its highest IoU with a ground-truth box is at least this.
        negative_iou_low: a RoI is negative if that IoU is at least this and below ``positive_iou``. Fast
            R-CNN has 0.1, to sample hard examples. Most later implementations have 0, so that the head
            also learns RoIs without any object.
        kind: kind of the boxes.

    Returns:
        rois: (B, R, E), positives first, padding (empty boxes) last.
        labels: (B, R) int32 object class, -1 for background, -2 for padding.
        matches: (B, R) int32 index of the ground-truth box with the highest IoU.
        overlaps: (B, R) float32, that IoU.
    """
    valid_gt = gt_labels >= 0
    # Padding of gt_boxes becomes an empty box, which is no candidate (``exists``).
    candidates = ops.concatenate([proposals, ops.where(valid_gt[..., None], gt_boxes, 0.0)], axis=1)
    exists = kind.area(candidates) > 0.0
    ious = kind.iou(gt_boxes, candidates) * ops.cast(valid_gt, "float32")[..., None]
    best = ops.max(ious, axis=1)
    matches = ops.cast(ops.argmax(ious, axis=1), "int32")

    positive = _first(exists & (best >= positive_iou), order, int(samples * positive_fraction))
    room = samples - ops.sum(ops.cast(positive, "int32"), axis=1, keepdims=True)
    is_negative = exists & (best < positive_iou) & (best >= negative_iou_low)
    negative = _first(is_negative, order, samples, room)

    last = 2 * ops.shape(order)[1]
    rank = ops.where(positive, order, ops.where(negative, order + ops.shape(order)[1], last))
    rank, index = _smallest(rank, samples, last)
    # An index past the end is padding that _smallest added.
    index = ops.minimum(index, ops.shape(order)[1] - 1)
    kept = rank < last

    matches = ops.take_along_axis(matches, index, axis=1)
    best = ops.take_along_axis(best, index, axis=1)
    rois = ops.take_along_axis(candidates, index[..., None], axis=1)
    rois = ops.where(kept[..., None], rois, 0.0)
    object_class = ops.take_along_axis(ops.cast(gt_labels, "int32"), matches, axis=1)
    labels = ops.where(best >= positive_iou, object_class, -1)
    return rois, ops.where(kept, labels, -2), matches, ops.where(kept, best, 0.0)


def label_rois(
    rois: Tensor,
    gt_boxes: Tensor,
    gt_labels: Tensor,
    positive_iou: float,
    kind: BoxKind = AXIS_ALIGNED,
) -> tuple[Tensor, Tensor]:
    """Label all RoIs by their IoU with the ground-truth boxes, without sampling.

    Args:
        rois: (B, R, E); empty boxes are padding.
        gt_boxes: (B, G, E).
        gt_labels: (B, G) int32 object class; -1 is padding.
        positive_iou: a RoI is positive if its highest IoU with a ground-truth box is at least this.
        kind: kind of the boxes.

    Returns:
        labels: (B, R) int32 object class, -1 for background, -2 for padding.
        matches: (B, R) int32 index of the ground-truth box with the highest IoU.
    """
    # At least one box, because argmax over none is an error.
    gt_boxes = ops.pad(gt_boxes, [[0, 0], [0, 1], [0, 0]])
    gt_labels = ops.pad(ops.cast(gt_labels, "int32"), [[0, 0], [0, 1]], constant_values=-1)
    ious = kind.iou(gt_boxes, rois) * ops.cast(gt_labels >= 0, "float32")[..., None]
    matches = ops.cast(ops.argmax(ious, axis=1), "int32")
    object_class = ops.take_along_axis(gt_labels, matches, axis=1)
    labels = ops.where(ops.max(ious, axis=1) >= positive_iou, object_class, -1)
    return ops.where(kind.area(rois) > 0.0, labels, -2), matches


def _first(candidates, order, limit, count=None):
    """Return (B, N) bool: the candidates that come first in ``order``.

    Args:
        candidates: (B, N) bool.
        order: (B, N) int32, a permutation in each row.
        limit: most candidates per image.
        count: (B, 1) int32, number of candidates per image, at most ``limit``; None: ``limit``.
    """
    if limit == 0:
        return ops.zeros_like(candidates)
    last = ops.shape(order)[1]
    rank = ops.where(candidates, order, last)
    smallest, _ = _smallest(rank, limit, last)
    if count is None:
        return candidates & (rank <= smallest[:, -1:])
    threshold = ops.take_along_axis(smallest, ops.maximum(count - 1, 0), axis=1)
    return candidates & (rank <= threshold) & (count > 0)


def _smallest(values, count, filler):
    """Return the ``count`` smallest of (B, N) ints, in rising order, and their indices.

    If N is less than ``count``, ``filler`` takes the place of the missing values.
    """
    # top_k needs at least ``count`` values, and N may be unknown while a graph is traced.
    fill = ops.zeros_like(values[:, :1]) + filler
    values = ops.concatenate([values, ops.repeat(fill, count, axis=1)], axis=1)
    negated, index = ops.top_k(-values, count)
    return -negated, ops.cast(index, "int32")
