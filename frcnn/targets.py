"""What the losses are given as ``y_true``: labels, deltas and masks in keras-frcnn's layout.

Letters: B images, L feature cells, A anchors a cell, N = L·A, G ground-truth boxes (padded), R RoIs,
C classes with background last. Each loss is divided by the number of sampled anchors or RoIs in the
whole batch. The regression losses cannot see that number, so here it is folded into their masks:
where an anchor or RoI is positive its mask is 1 / number, elsewhere 0.
"""

import functools

import keras
import numpy as np
from keras import ops

from frcnn import anchors as anchor_ops
from frcnn import boxes as box_ops
from frcnn.anchors import IGNORED, POSITIVE
from frcnn.sampling import random_order, sample_anchors


def rpn_targets(anchors, labels, matches, gt_boxes, num_anchors):
    """Return the RPN's two targets. In numpy, as the input pipeline runs it.

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


class RpnTargeter:
    """Assign and sample the anchors of a batch: what the input pipeline's workers run.

    Args:
        pyramid: ``anchors.Pyramid``.
        config: ``RpnConfig``.
    """

    def __init__(self, pyramid, config):
        self._config = config
        self._num_anchors = pyramid.num_anchors

        @functools.lru_cache(maxsize=64)
        def anchors(height, width):
            # On the CPU, so that the workers leave a GPU to the training step. Column by column in
            # memory, as they are read.
            with keras.device("cpu:0"):
                return np.asfortranarray(ops.convert_to_numpy(pyramid(height, width)[0]))

        self._anchors = anchors

    def __call__(self, batch, generator):
        """Return numpy (y_class, y_regress) for a ``Batch``; see ``rpn_targets``.

        Args:
            batch: ``frcnn.data.pipeline.Batch``.
            generator: ``numpy.random.Generator`` that the sample is drawn from, or one for each image.
        """
        config, anchors = self._config, self._anchors(*batch.images.shape[1:3])
        order = random_order(generator, len(batch.images), len(anchors))
        valid = batch.gt_labels >= 0
        thresholds = config.positive_iou, config.negative_iou
        labels, matches = anchor_ops.assign(
            anchors, batch.gt_boxes, valid, batch.image_sizes, *thresholds
        )
        labels = sample_anchors(labels, order, config.samples, config.positive_fraction)
        return rpn_targets(anchors, labels, matches, batch.gt_boxes, self._num_anchors)
