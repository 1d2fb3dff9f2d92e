"""What the losses are given as ``y_true``: labels, deltas and masks in keras-frcnn's layout.

Letters: B images, L feature cells, A anchors a cell, N = L·A, G ground-truth boxes (padded), R RoIs,
C classes with background last. Each loss is divided by the number of sampled anchors or RoIs in the
whole batch. The regression losses cannot see that number, so here it is folded into their masks:
where an anchor or RoI is positive its mask is 1 / number, elsewhere 0.
"""

import numpy as np
from keras import ops

from frcnn.ops import boxes as box_ops
from frcnn.ops.anchors import IGNORED, POSITIVE


def rpn_targets(anchors, labels, matches, gt_boxes, num_anchors):
    """Return the RPN's two targets. In numpy, as the input pipeline runs it.

    Args:
        anchors: (N, 4).
        labels: (B, N) int32 from ``sample_anchors``.
        matches: (B, N) int32 from ``anchors.match_anchors``.
        gt_boxes: (B, G, 4).
        num_anchors: A.

    Returns:
        y_class: (B, L, 2·A) float32, valid mask then label, for ``rpn_loss_cls``.
        y_regress: (B, L, 2·A·4) float32, mask then deltas, for ``rpn_loss_regr``.
    """
    batch, count = labels.shape
    sampled = labels != IGNORED
    y_class = np.empty((batch, count // num_anchors, 2, num_anchors), "float32")
    y_class[:, :, 0] = sampled.reshape(batch, -1, num_anchors)
    y_class[:, :, 1] = (labels == POSITIVE).reshape(batch, -1, num_anchors)
    # Few anchors are positive, so only theirs are worked out and written.
    row, anchor = np.nonzero(labels == POSITIVE)
    cell, of_cell = np.divmod(anchor, num_anchors)
    y_regress = np.zeros((batch, count // num_anchors, 2, num_anchors, 4), "float32")
    y_regress[row, cell, 0, of_cell] = 1.0 / np.float32(max(sampled.sum(), 1))
    matched = gt_boxes[row, matches[row, anchor]]
    y_regress[row, cell, 1, of_cell] = _encode(matched, anchors[anchor])
    return y_class.reshape(batch, -1, 2 * num_anchors), y_regress.reshape(batch, -1, 8 * num_anchors)


def _encode(boxes, references):
    """Return the (P, 4) deltas of (P, 4) boxes: ``boxes.encode``, in numpy."""
    size = np.maximum(references[:, 2:] - references[:, :2], 1e-6)
    box_size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    shift = (boxes[:, :2] + 0.5 * box_size - references[:, :2] - 0.5 * size) / size
    return np.concatenate([shift, np.log(box_size / size)], axis=1)


def roi_targets(rois, labels, matches, gt_boxes, num_classes, delta_weights):
    """Return the classifier's two targets.

    Args:
        rois: (B, R, 4).
        labels: (B, R) int32 object class, -1 background, -2 padding, from ``sample_rois``.
        matches: (B, R) int32 from ``sample_rois``.
        gt_boxes: (B, G, 4).
        num_classes: C, background included.
        delta_weights: what dx, dy, dw, dh are multiplied by.

    Returns:
        y_class: (B, R, C) float32 one-hot, all zero for padding, for ``class_loss_cls``.
        y_regress: (B, R, 2·(C-1)·4) float32, mask then deltas, for ``class_loss_regr``.
    """
    background = num_classes - 1
    # one_hot gives an all-zero row for an index outside the range.
    column = ops.where(labels == -1, background, labels)
    y_class = ops.one_hot(column, num_classes, dtype="float32")
    of_class = ops.repeat(y_class[..., :background], 4, axis=-1)

    matched = ops.take_along_axis(gt_boxes, matches[..., None], axis=1)
    deltas = box_ops.encode(matched, rois, delta_weights)
    deltas = ops.tile(deltas, (1, 1, background)) * of_class
    mask = of_class / ops.maximum(ops.sum(y_class), 1.0)
    return y_class, ops.concatenate([mask, deltas], axis=-1)
