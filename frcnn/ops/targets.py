"""The ``y_true`` of the losses: labels, deltas and masks in keras-frcnn's layout.

Each loss is divided by the number of anchors or RoIs that are sampled in the whole batch. The ``y_true``
of the regression losses does not hold this number, so it is in their masks: 1 / number for a positive
anchor or RoI, 0 for all others.

B: images, L: feature cells, A: anchors per cell, N = L·A, S: sampled cells per image, G: ground-truth
boxes (padded), R: RoIs, C: classes with background last, E: numbers per box, D: numbers per regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from frcnn.ops.anchors import IGNORED, POSITIVE
from frcnn.ops.box_kinds import AXIS_ALIGNED, BoxKind

Tensor = Any


class RpnTargets(NamedTuple):
    """The RPN's targets at the cells that have a sampled anchor.

    Attributes:
        cells: (B, S) int32 indices of cells, in rising order, then -1 as padding.
        y_class: (B, S, 2·A) float32, valid mask then label, for ``rpn_loss_cls``; 0 for padding.
        y_regress: (B, S, 2·A·D) float32, mask then deltas, for ``rpn_loss_regr``; 0 for padding.
    """

    cells: np.ndarray
    y_class: np.ndarray
    y_regress: np.ndarray


def sampled_rpn_targets(
    anchors: np.ndarray,
    labels: np.ndarray,
    matches: np.ndarray,
    gt_boxes: np.ndarray,
    num_anchors: int,
    samples: int,
    kind: BoxKind = AXIS_ALIGNED,
) -> RpnTargets:
    """Make the RPN's targets at the sampled cells only. It uses numpy, for the loader's threads.

    Args:
        anchors: (N, 4).
        labels: (B, N) int32 from ``sample_anchors``: ``POSITIVE``, negative or ``IGNORED``.
        matches: (B, N) int32 from ``anchors.match_anchors``: index in ``gt_boxes`` of the box that each
            anchor is matched with.
        gt_boxes: (B, G, E).
        num_anchors: A.
        samples: S; at least the number of sampled anchors of any image.
        kind: kind of the boxes.
    """
    batch = len(labels)
    # The value of the regression mask for positive anchors; see the module's docstring.
    mask = np.float32(1.0) / max(int(np.count_nonzero(labels != IGNORED)), 1)
    cells = np.full((batch, samples), -1, "int32")
    y_class = np.zeros((batch, samples, 2, num_anchors), "float32")
    y_regress = np.zeros((batch, samples, 2, num_anchors, kind.rpn_dim), "float32")
    for image, of_image in enumerate(labels):
        sampled = np.flatnonzero(of_image != IGNORED)
        own_cells, slot = np.unique(sampled // num_anchors, return_inverse=True)
        cells[image, : len(own_cells)] = own_cells
        y_class[image, slot, 0, sampled % num_anchors] = 1.0
        is_positive = of_image[sampled] == POSITIVE
        positive, slot = sampled[is_positive], slot[is_positive]
        y_class[image, slot, 1, positive % num_anchors] = 1.0
        matched = gt_boxes[image, matches[image, positive]]
        y_regress[image, slot, 0, positive % num_anchors] = mask
        y_regress[image, slot, 1, positive % num_anchors] = kind.encode_anchors(
            matched, anchors[positive]
        )
    return RpnTargets(
        cells,
        y_class.reshape(batch, samples, 2 * num_anchors),
        y_regress.reshape(batch, samples, 2 * num_anchors * kind.rpn_dim),
    )


def rpn_targets(
    anchors: np.ndarray,
    labels: np.ndarray,
    matches: np.ndarray,
    gt_boxes: np.ndarray,
    num_anchors: int,
    kind: BoxKind = AXIS_ALIGNED,
) -> tuple[np.ndarray, np.ndarray]:
    """Make the RPN's targets at all cells, for plain ``rpn.train_on_batch``. It uses numpy.

    Args:
        anchors, labels, matches, gt_boxes, num_anchors, kind: as for ``sampled_rpn_targets``.

    Returns:
        y_class (B, L, 2·A) and y_regress (B, L, 2·A·D); see ``RpnTargets``.
    """
    samples = int((labels != IGNORED).sum(axis=1).max(initial=0))
    sampled = sampled_rpn_targets(anchors, labels, matches, gt_boxes, num_anchors, samples, kind)
    image, slot = np.nonzero(sampled.cells >= 0)

    def at_all_cells(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(labels), len(anchors) // num_anchors, values.shape[-1]), "float32")
        whole[image, sampled.cells[image, slot]] = values[image, slot]
        return whole

    return at_all_cells(sampled.y_class), at_all_cells(sampled.y_regress)


def roi_targets(
    rois: Tensor,
    labels: Tensor,
    matches: Tensor,
    gt_boxes: Tensor,
    num_classes: int,
    delta_weights: Sequence[float],
    kind: BoxKind = AXIS_ALIGNED,
) -> tuple[Tensor, Tensor]:
    """Make the classifier's two targets.

    Args:
        rois: (B, R, E).
        labels: (B, R) int32 object class, -1 background, -2 padding, from ``sample_rois``.
        matches: (B, R) int32 from ``sample_rois``: index in ``gt_boxes`` of the box of each RoI.
        gt_boxes: (B, G, E).
        num_classes: C, background included.
        delta_weights: factors of dx, dy, dw, dh.
        kind: kind of the boxes.

    Returns:
        y_class: (B, R, C) float32 one-hot, all zero for padding, for ``class_loss_cls``.
        y_regress: (B, R, 2·(C-1)·D) float32, mask then deltas, for ``class_loss_regr``.
    """
    background = num_classes - 1
    # one_hot gives an all-zero row for an index outside the range.
    column = ops.where(labels == -1, background, labels)
    y_class = ops.one_hot(column, num_classes, dtype="float32")
    of_class = ops.repeat(y_class[..., :background], kind.head_dim, axis=-1)

    matched = ops.take_along_axis(gt_boxes, matches[..., None], axis=1)
    deltas = kind.encode(matched, rois, delta_weights)
    deltas = ops.tile(deltas, (1, 1, background)) * of_class
    mask = of_class / ops.maximum(ops.sum(y_class), 1.0)
    return y_class, ops.concatenate([mask, deltas], axis=-1)
