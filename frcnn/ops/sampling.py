"""Which anchors and which RoIs a step trains on.

Ren et al. 2015, section 3.1.3 (256 anchors, at most half of them positive) and Girshick 2015 (Fast
R-CNN), section 2.3 (128 RoIs, a quarter positive). Letters: B images, N anchors, P proposals, G
ground-truth boxes (padded), R RoIs.

Decided here: chance comes in as ``order``, a random permutation of the candidates made by the
caller, and the first in it are taken. So both functions are pure and give the same sample on every
backend. ``sample_anchors`` is numpy, as ``match_anchors`` is; ``sample_rois`` runs inside a compiled
step.
"""

import numpy as np
from keras import ops

from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE
from frcnn.ops.box_kinds import AXIS_ALIGNED


def random_order(generator, batch, count):
    """Return (batch, count) int32: a random permutation of 0..count-1 in each row.

    Args:
        generator: ``numpy.random.Generator``, or a list with one for each row.
        batch, count: shape.
    """
    if isinstance(generator, list):
        return np.concatenate([random_order(one, 1, count) for one in generator])
    return generator.permuted(np.tile(np.arange(count, dtype="int32"), (batch, 1)), axis=1)


def sample_anchors(labels, order, samples=256, positive_fraction=0.5):
    """Keep the labels of some anchors and ignore the rest. In numpy.

    Args:
        labels: (B, N) int32 POSITIVE, NEGATIVE or IGNORED.
        order: (B, N) int32 random permutation a row.
        samples: anchors an image.
        positive_fraction: at most this share of them is positive; negatives fill what is left.

    Returns:
        (B, N) int32 labels, IGNORED where not sampled. An image has fewer than ``samples`` only
        when it has too few candidates.
    """
    kept = np.full_like(labels, IGNORED)
    for own, row, places in zip(kept, labels, order):
        positive = _first_of(row == POSITIVE, places, int(samples * positive_fraction))
        own[positive] = POSITIVE
        own[_first_of(row == NEGATIVE, places, samples - len(positive))] = NEGATIVE
    return kept


def _first_of(candidates, places, count):
    """Return the indices of the ``count`` candidates, (N,) bool, whose ``places`` (N,) are lowest."""
    index = np.flatnonzero(candidates)
    if len(index) <= count:
        return index
    own = places[index]
    return index[own < np.partition(own, count)[count]]


def sample_rois(
    proposals,
    gt_boxes,
    gt_labels,
    order,
    samples=128,
    positive_fraction=0.25,
    positive_iou=0.5,
    negative_iou_low=0.0,
    kind=AXIS_ALIGNED,
):
    """Pick the RoIs that the classifier trains on, ground truth among the candidates.

    Args:
        proposals: (B, P, E); empty boxes are padding.
        gt_boxes: (B, G, E).
        gt_labels: (B, G) int32 object class; -1 is padding.
        order: (B, P + G) int32 random permutation a row.
        samples: R.
        positive_fraction: at most this share is positive; negatives fill what is left.
        positive_iou: a RoI is positive when its best IoU is at least this.
        negative_iou_low: and negative from here up to it. Fast R-CNN took 0.1 for want of hard
            examples; 0, as most do since, also shows the head plain background.
        kind: of the boxes.

    Returns:
        rois: (B, R, E), positives first, padding (empty boxes) last.
        labels: (B, R) int32 object class, -1 for background, -2 for padding.
        matches: (B, R) int32 index of the ground-truth box a RoI overlaps most.
        overlaps: (B, R) float32 IoU with it.
    """
    valid_gt = gt_labels >= 0
    # Padding of gt_boxes becomes an empty box, which the next line leaves out.
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


def _first(candidates, order, limit, count=None):
    """Return (B, N) bool: the ``count`` candidates that come first in ``order``.

    ``count``, (B, 1) int32, is at most ``limit``, a plain int, and equal to it when not given.
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
    """Return the ``count`` smallest of (B, N) ints, rising, and their places; ``filler`` if fewer."""
    # top_k refuses more values than there are, and N may be unknown while a graph is traced.
    fill = ops.zeros_like(values[:, :1]) + filler
    values = ops.concatenate([values, ops.repeat(fill, count, axis=1)], axis=1)
    negated, index = ops.top_k(-values, count)
    return -negated, ops.cast(index, "int32")
