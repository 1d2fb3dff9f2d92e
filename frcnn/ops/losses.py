"""The four losses, with the names and layouts of keras-frcnn.

Ren et al. 2015, section 3.1.2, equation 1, for the RPN, and Girshick 2015, section 2.3, for the
classifier. The masks are part of ``y_true``, so any leading axes are allowed, such as (B, L, ...) and
(B, R, ...).

- Predictions are scores (after sigmoid or softmax), as the sub-models return them. A score of exactly 0
  or 1 gives a large but finite loss and a finite gradient. All losses are computed in float32.
- A loss is a sum over the batch divided by the number of anchors or RoIs sampled in the batch.
- ``sample_weight`` multiplies the summands: per image (B,), per RoI (B, R), per cell (B, L), or per
  anchor (B, L, A). The divisor does not change with the weights, as in Keras' own losses: with a weight
  of 2 an anchor counts twice. The class weights of ``weighted_class_loss_cls`` multiply in the same way.
- Smooth L1 changes from quadratic to linear at 1/9 (``SMOOTH_L1_BETA``) in both sub-models.

B: images, L: feature cells, A: anchors per cell, R: RoIs, C: classes with background last, D: numbers
per box regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import losses, ops

from frcnn.ops.boxes import decode, giou

Tensor = Any

SMOOTH_L1_BETA = 1.0 / 9.0

# Lower limits of the argument of the logarithm. Above 1e-30 the gradient of a small score, -1/score, is
# finite in float32. 1 - score has no values between 0 and 2**-24 in float32.
SMALLEST_SCORE = 1e-30
SMALLEST_COMPLEMENT = 2.0**-24
# Lower limit of float16 scores: their gradient is float16 as well, whose largest number is 65504.
SMALLEST_FLOAT16_SCORE = 2.0**-14


class _SummedLoss(losses.Loss):
    """A loss that is a sum of summands. Each summand may have a weight.

    Args:
        summands: function that returns the summands (...,). Its arguments: ``y_true`` (..., k),
            ``y_pred`` (..., m) and, if ``num_anchors`` is given, weights (..., A) or None.
        name: of the loss.
        of_scores: whether ``y_pred`` holds scores.
        num_anchors: A, if the last axis of ``y_pred`` holds A anchors, each of which may have a weight.
    """

    def __init__(self, summands, name, of_scores=False, num_anchors=None):
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.summands = summands
        self.of_scores = of_scores
        self.num_anchors = num_anchors

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        if self.of_scores and keras.backend.standardize_dtype(y_pred.dtype) == "float16":
            y_pred = ops.maximum(ops.cast(y_pred, "float32"), SMALLEST_FLOAT16_SCORE)
        if sample_weight is None:
            return super().__call__(y_true, y_pred)
        leading = tuple(y_pred.shape[:-1])
        weights = self._checked(ops.convert_to_tensor(sample_weight, dtype="float32"), leading)
        if len(weights.shape) <= min(len(leading), 1):
            return super().__call__(y_true, y_pred, weights)
        y_true, y_pred = (ops.convert_to_tensor(y, dtype="float32") for y in (y_true, y_pred))
        if len(weights.shape) > len(leading):
            return ops.sum(self.summands(y_true, y_pred, weights))
        values = self.summands(y_true, y_pred)
        weights = ops.reshape(weights, (*ops.shape(weights), *[1] * (len(leading) - len(weights.shape))))
        # Only the weights are broadcast. So weights of a wrong size, which a graph may not know while it
        # is traced, raise an error and do not repeat the values.
        return ops.sum(values * ops.broadcast_to(weights, ops.shape(values)))

    def call(self, y_true, y_pred):
        values = self.summands(y_true, y_pred)
        # One value per image: Keras multiplies it by the weight of the image.
        return ops.sum(values, axis=tuple(range(1, len(values.shape))))

    def _checked(self, weights, leading):
        """Return the weights if their shape is allowed: per image, per cell or RoI, or per anchor.

        Args:
            weights: float32.
            leading: shape of the predictions without the last axis; None for a size that is unknown.

        Raises:
            ValueError: the shape is not allowed.
        """
        finest = leading if self.num_anchors is None else (*leading, self.num_anchors)

        def fits(shape):
            return len(shape) <= len(finest) and all(
                size is None or of_loss is None or size == of_loss
                for size, of_loss in zip(shape, finest)
            )

        if len(weights.shape) > 1 and weights.shape[-1] == 1 and not fits(weights.shape):
            weights = ops.squeeze(weights, -1)  # as Keras does
        if not fits(weights.shape):
            allowed = [finest[:rank] for rank in range(1, len(finest) + 1)] or [()]
            raise ValueError(
                f"sample_weight of {self.name} has the shape {tuple(weights.shape)}, but must have one "
                f"of {', '.join(map(str, allowed))}. Give each output its own: sample_weight=[..., ...]"
            )
        return weights


def rpn_loss_cls(num_anchors: int) -> losses.Loss:
    """Return the RPN's objectness loss: binary cross-entropy.

    ``y_true`` (..., 2·A): valid mask (1 for sampled anchors, else 0), then label (1 object,
    0 background). ``y_pred`` (..., A): scores in [0, 1]. The loss is the sum over the valid anchors
    divided by their number.

    Args:
        num_anchors: A.
    """

    def summands(y_true, y_pred, weights=None):
        valid, label = y_true[..., :num_anchors], y_true[..., num_anchors:]
        if_object = ops.log(ops.maximum(y_pred, SMALLEST_SCORE))
        if_background = ops.log(ops.maximum(1.0 - y_pred, SMALLEST_COMPLEMENT))
        entropy = -(label * if_object + (1.0 - label) * if_background)
        of_anchors = valid * entropy
        if weights is not None:
            of_anchors = of_anchors * weights
        return ops.sum(of_anchors, axis=-1) / ops.maximum(ops.sum(valid), 1.0)

    return _SummedLoss(summands, "rpn_loss_cls", of_scores=True, num_anchors=num_anchors)


def rpn_loss_regr(num_anchors: int, box_dim: int = 4) -> losses.Loss:
    """Return the RPN's box loss: smooth L1 of the deltas.

    ``y_true`` (..., 2·A·D): mask, then target deltas. ``y_pred`` (..., A·D): deltas. The loss is the sum
    of mask times smooth L1. The divisor, the number of sampled anchors, positive and negative, is in the
    mask: 1 / number for positive anchors and 0 for all others (``frcnn.ops.targets``).

    Args:
        num_anchors: A.
        box_dim: D.
    """
    return _masked_smooth_l1(num_anchors, box_dim, "rpn_loss_regr", num_anchors)


def weighted_class_loss_cls(class_weights: Sequence[float] | None = None) -> losses.Loss:
    """Return ``class_loss_cls`` with the summands of each class multiplied by a weight.

    Keras' own ``class_weight`` does not work for models with several outputs. The sum is divided by the
    number of RoIs that are not padding, not by the sum of their weights.

    Args:
        class_weights: C numbers, background last; None: 1 for each class.

    Raises:
        ValueError: when the loss is called, the number of weights is not C.
    """

    def summands(y_true, y_pred):
        entropy = -y_true * ops.log(ops.maximum(y_pred, SMALLEST_SCORE))
        if class_weights is not None:
            if len(class_weights) != y_pred.shape[-1]:
                raise ValueError(
                    f"{len(class_weights)} class weights for {y_pred.shape[-1]} classes, background "
                    "included"
                )
            entropy = entropy * ops.convert_to_tensor(class_weights, "float32")
        return ops.sum(entropy, axis=-1) / ops.maximum(ops.sum(y_true), 1.0)

    return _SummedLoss(summands, "class_loss_cls", of_scores=True)


class_loss_cls = weighted_class_loss_cls()
"""The classifier's loss over classes: categorical cross-entropy.

``y_true`` (..., C): one-hot; an all-zero row is padding. ``y_pred`` (..., C): scores that add up to 1.
The loss is the sum over the RoIs divided by the number of RoIs that are not padding.
"""


def class_loss_regr(num_classes: int, box_dim: int = 4) -> losses.Loss:
    """Return the classifier's box loss: smooth L1 of the deltas of each RoI's true class.

    ``y_true`` (..., 2·(C-1)·D): mask, then target deltas. ``y_pred`` (..., (C-1)·D): deltas. The loss is
    the sum of mask times smooth L1. The divisor, the number of RoIs that are not padding, is in the
    mask, as in ``rpn_loss_regr``.

    Args:
        num_classes: C-1, the object classes without background, as in keras-frcnn.
        box_dim: D.
    """
    return _masked_smooth_l1(num_classes, box_dim, "class_loss_regr")


def class_giou_loss_regr(num_classes: int, delta_weights: Sequence[float]) -> losses.Loss:
    """Return the classifier's box loss by overlap: 1 - GIoU of the predicted and the true box of a RoI.

    Rezatofighi et al. 2019, "Generalized Intersection over Union". Targets and predictions have the
    layout of ``class_loss_regr``. GIoU does not change if both boxes are moved, or scaled along an axis.
    So both are decoded with the unit square as reference, and the RoI itself is not needed.

    Args:
        num_classes: C-1, the object classes without background.
        delta_weights: factors of dx, dy, dw, dh in the targets.
    """
    width = num_classes * 4

    def summands(y_true, y_pred):
        shape = (*ops.shape(y_pred)[:-1], num_classes, 4)
        mask, target = y_true[..., :width], y_true[..., width:]
        unit = ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0], "float32")
        boxes = [decode(ops.reshape(one, shape), unit, delta_weights) for one in (target, y_pred)]
        of_rois = ops.reshape(mask, shape)[..., 0] * (1.0 - giou(*boxes))
        return ops.sum(of_rois, axis=-1)

    return _SummedLoss(summands, "class_loss_regr")


def _masked_smooth_l1(boxes, box_dim, name, num_anchors=None):
    """Return the sum of mask times smooth L1 over the deltas of ``boxes`` boxes per cell or RoI."""
    width = boxes * box_dim

    def summands(y_true, y_pred, weights=None):
        mask, target = y_true[..., :width], y_true[..., width:]
        error = ops.abs(y_pred - target)
        quadratic = 0.5 * ops.square(error) / SMOOTH_L1_BETA
        smooth_l1 = ops.where(error < SMOOTH_L1_BETA, quadratic, error - 0.5 * SMOOTH_L1_BETA)
        of_numbers = mask * smooth_l1
        if weights is not None:
            of_numbers = of_numbers * ops.repeat(weights, box_dim, axis=-1)
        return ops.sum(of_numbers, axis=-1)

    return _SummedLoss(summands, name, num_anchors=num_anchors)
