"""What the losses are given as ``y_true``: labels, deltas and masks in keras-frcnn's layout.

Letters: B images, L feature cells, A anchors a cell, N = L·A, G ground-truth boxes (padded), R RoIs,
C classes with background last. Each loss is divided by the number of sampled anchors or RoIs in the
whole batch. The regression losses cannot see that number, so here it is folded into their masks:
where an anchor or RoI is positive its mask is 1 / number, elsewhere 0.
"""

import functools

import keras
from keras import ops

from frcnn import anchors as anchor_ops
from frcnn import boxes as box_ops
from frcnn.anchors import IGNORED, POSITIVE
from frcnn.backend import compiled
from frcnn.sampling import random_order, sample_anchors


def rpn_targets(anchors, labels, matches, gt_boxes, num_anchors):
    """Return the RPN's two targets.

    Args:
        anchors: (N, 4).
        labels: (B, N) int32 from ``sample_anchors``.
        matches: (B, N) int32 from ``anchors.assign``.
        gt_boxes: (B, G, 4).
        num_anchors: A.

    Returns:
        y_class: (B, L, 2·A) float32, valid mask then label, for ``rpn_loss_cls``.
        y_regress: (B, L, 2·A·4) float32, mask then deltas, for ``rpn_loss_regr``.
    """
    valid = ops.cast(labels != IGNORED, "float32")
    positive = ops.cast(labels == POSITIVE, "float32")
    batch = ops.shape(labels)[0]
    matched = ops.take_along_axis(gt_boxes, matches[..., None], axis=1)
    deltas = box_ops.encode(matched, anchors) * positive[..., None]
    mask = positive / ops.maximum(ops.sum(valid), 1.0)
    mask = ops.repeat(mask[..., None], 4, axis=-1)

    def by_cell(values):
        return ops.reshape(
            values, (batch, -1, num_anchors * (values.shape[2] if values.ndim == 3 else 1))
        )

    y_class = ops.concatenate([by_cell(valid), by_cell(positive)], axis=-1)
    y_regress = ops.concatenate([by_cell(mask), by_cell(deltas)], axis=-1)
    return y_class, y_regress


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


class RpnTargeter:
    """Assign and sample the anchors of a batch: what the input pipeline's workers run.

    Args:
        pyramid: ``anchors.Pyramid``.
        config: ``RpnConfig``.
    """

    def __init__(self, pyramid, config):
        def targets(anchors, gt_boxes, gt_labels, image_sizes, order):
            valid = gt_labels >= 0
            labels, matches = anchor_ops.assign(
                anchors, gt_boxes, valid, image_sizes, config.positive_iou, config.negative_iou
            )
            labels = sample_anchors(labels, order, config.samples, config.positive_fraction)
            return rpn_targets(anchors, labels, matches, gt_boxes, pyramid.num_anchors)

        shapes = (None, 4), (None, None, 4), (None, None), (None, 2), (None, None)
        self._targets = compiled(targets, shapes)
        self._anchors = functools.lru_cache(maxsize=64)(
            lambda height, width: ops.convert_to_numpy(pyramid(height, width)[0])
        )

    def __call__(self, batch, generator):
        """Return numpy (y_class, y_regress) for a ``Batch``; see ``rpn_targets``.

        Args:
            batch: ``frcnn.data.pipeline.Batch``.
            generator: ``numpy.random.Generator`` that the sample is drawn from, or one for each image.
        """
        # On the CPU, so that the workers leave a GPU to the training step.
        with keras.device("cpu:0"):
            anchors = self._anchors(*batch.images.shape[1:3])
            order = random_order(generator, len(batch.images), len(anchors))
            targets = self._targets(anchors, batch.gt_boxes, batch.gt_labels, batch.image_sizes, order)
            return tuple(ops.convert_to_numpy(target) for target in targets)
