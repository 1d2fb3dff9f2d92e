"""The four losses, with the names and layouts of keras-frcnn.

Ren et al. 2015, section 3.1.2, equation 1, for the RPN, and Girshick 2015, section 2.3, for the
classifier. Targets carry their own masks, so that any leading axes are allowed: (B, L, ...),
(B, R, ...), or none but one.

Decided here:

- Predictions are scores (after sigmoid or softmax), as the sub-models give them. A score of exactly
  0 or 1 gives a large finite loss and a finite gradient, also when it comes in float16: everything is
  computed in float32.
- A loss is a sum over the batch divided by the number of anchors or RoIs sampled in the batch. Each
  is a ``keras.losses.Loss`` whose ``call`` returns one summand an image and whose reduction adds them
  up, so that Keras' ``sample_weight`` weighs images.
- Smooth L1 bends at 1/9 (``SMOOTH_L1_BETA``) in both sub-models.
"""

import keras
from keras import losses, ops

SMOOTH_L1_BETA = 1.0 / 9.0

# The logarithm's argument never falls below these. A small score still has its gradient, -1/score,
# wherever float32 can express both; 1 - score cannot be told from 0 below 2**-24.
SMALLEST_SCORE = 1e-30
SMALLEST_COMPLEMENT = 2.0**-24
# A score that comes in float16 gets its gradient in float16, which ends at 65504.
SMALLEST_FLOAT16_SCORE = 2.0**-14


class _SummedLoss(losses.Loss):
    """A loss given as a function that returns the summands: (...,) from (..., k) and (..., m)."""

    def __init__(self, summands, name, of_scores=False):
        super().__init__(name=name, reduction="sum", dtype="float32")
        self.summands = summands
        self.of_scores = of_scores

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        if self.of_scores and keras.backend.standardize_dtype(y_pred.dtype) == "float16":
            y_pred = ops.maximum(ops.cast(y_pred, "float32"), SMALLEST_FLOAT16_SCORE)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        values = self.summands(y_true, y_pred)
        # Add up all but the first axis: a value an image, which sample_weight can multiply.
        return ops.sum(values, axis=tuple(range(1, len(values.shape))))


def rpn_loss_cls(num_anchors):
    """Return the RPN's objectness loss: binary cross-entropy.

    ``y_true`` (..., 2·A): valid mask (1 for sampled anchors, else 0), then label (1 object,
    0 background). ``y_pred`` (..., A): scores in [0, 1]. The value is the sum over valid anchors divided
    by their number.

    Args:
        num_anchors: A, anchors a cell.
    """

    def summands(y_true, y_pred):
        valid, label = y_true[..., :num_anchors], y_true[..., num_anchors:]
        if_object = ops.log(ops.maximum(y_pred, SMALLEST_SCORE))
        if_background = ops.log(ops.maximum(1.0 - y_pred, SMALLEST_COMPLEMENT))
        entropy = -(label * if_object + (1.0 - label) * if_background)
        return ops.sum(valid * entropy, axis=-1) / ops.maximum(ops.sum(valid), 1.0)

    return _SummedLoss(summands, "rpn_loss_cls", of_scores=True)


def rpn_loss_regr(num_anchors, box_dim=4):
    """Return the RPN's box loss: smooth L1 of the deltas.

    ``y_true`` (..., 2·A·D): mask, then target deltas. ``y_pred`` (..., A·D): deltas. The value is
    the sum of mask times smooth L1. The paper divides by the number of sampled anchors, negatives
    included, which is not in this ``y_true``: it is folded into the mask, 1 / number for positive
    anchors and 0 for the others (``frcnn.targets``).

    Args:
        num_anchors: A, anchors a cell.
        box_dim: D, numbers a box regression has.
    """
    return _masked_smooth_l1(num_anchors * box_dim, "rpn_loss_regr")


def _class_summands(y_true, y_pred):
    entropy = -y_true * ops.log(ops.maximum(y_pred, SMALLEST_SCORE))
    return ops.sum(entropy, axis=-1) / ops.maximum(ops.sum(y_true), 1.0)


class_loss_cls = _SummedLoss(_class_summands, "class_loss_cls", of_scores=True)
"""The classifier's loss over classes: categorical cross-entropy.

``y_true`` (..., C): one-hot; an all-zero row is padding. ``y_pred`` (..., C): scores that add up to 1.
The value is the sum over RoIs divided by the number of RoIs that are not padding.
"""


def class_loss_regr(num_classes, box_dim=4):
    """Return the classifier's box loss: smooth L1 of the deltas of a RoI's own class.

    ``y_true`` (..., 2·(C-1)·D): mask, then target deltas. ``y_pred`` (..., (C-1)·D): deltas. The
    value is the sum of mask times smooth L1; the number of RoIs that are not padding, which divides it,
    is folded into the mask as in ``rpn_loss_regr``.

    Args:
        num_classes: C-1, the object classes (without background), as the old trainers pass it.
        box_dim: D, numbers a box regression has.
    """
    return _masked_smooth_l1(num_classes * box_dim, "class_loss_regr")


def _masked_smooth_l1(width, name):
    def summands(y_true, y_pred):
        mask, target = y_true[..., :width], y_true[..., width:]
        error = ops.abs(y_pred - target)
        bowl = 0.5 * ops.square(error) / SMOOTH_L1_BETA
        smooth_l1 = ops.where(error < SMOOTH_L1_BETA, bowl, error - 0.5 * SMOOTH_L1_BETA)
        return ops.sum(mask * smooth_l1, axis=-1)

    return _SummedLoss(summands, name)
