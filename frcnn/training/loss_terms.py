"""The losses of the two sub-models. A step model minimizes their weighted sum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keras import ops

from frcnn.config import class_weights
from frcnn.models.cascade import STAGE_WEIGHTS, delta_weights_of, target_names
from frcnn.ops import losses

if TYPE_CHECKING:
    from frcnn.config.schema import Config
    from frcnn.models.faster_rcnn import FasterRCNN

Tensor = Any


@dataclasses.dataclass(frozen=True)
class LossNormalizer:
    """The divisor of a loss: the number of sampled anchors or RoIs.

    Attributes:
        output, target: those of the ``LossTerm`` from whose ``y_true`` the number is counted.
        count: function from that ``y_true`` to the number.
    """

    output: str
    target: str | None
    count: Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class LossTerm:
    """One loss of the sum that a step model minimizes.

    Attributes:
        sub_model: "rpn" or "classifier".
        output: name of the prediction.
        loss: function from (y_true, y_pred, sample_weight) to one number.
        weight: factor of the loss in the sum.
        normalizer: the divisor that ``loss`` applies.
        target: name of the model's output that is the ``y_true``; None: the ``y_true`` is passed to the
            step under the name of the prediction.
        has_accuracy: whether to log the accuracy of the prediction, which is class scores.
    """

    sub_model: str
    output: str
    loss: Callable[..., Tensor]
    weight: float
    normalizer: LossNormalizer
    target: str | None = None
    has_accuracy: bool = False


def rpn_terms(model: FasterRCNN, weights: Sequence[float]) -> list[LossTerm]:
    """Return the RPN's two losses.

    Args:
        model: the network.
        weights: factors of the class loss and of the box loss.
    """
    anchors, (classes, boxes) = model.num_anchors, model.rpn.output_names
    normalizer = LossNormalizer(classes, None, lambda y_class: ops.sum(y_class[..., :anchors]))
    return [
        LossTerm("rpn", classes, losses.rpn_loss_cls(anchors), weights[0], normalizer),
        LossTerm(
            "rpn", boxes, losses.rpn_loss_regr(anchors, model.kind.rpn_dim), weights[1], normalizer
        ),
    ]


def classifier_terms(model: FasterRCNN, config: Config, sampled: bool = False) -> list[LossTerm]:
    """Return the classifier's two losses; of a cascade, those of all stages.

    Args:
        model: the network.
        config: the settings. If ``loss.class_weights`` is set, ``data.classes`` must be set as well.
        sampled: whether the first stage's targets are outputs of the same step model.

    Raises:
        ConfigError: ``loss.class_weights`` names a class that ``data.classes`` does not have.
    """
    of_classes = class_weights.of_classes(config.loss.class_weights, config.data.classes)
    class_loss = losses.weighted_class_loss_cls(of_classes)
    box_loss = losses.class_loss_regr(model.num_classes - 1, model.kind.head_dim)
    terms = []
    for number, stage in enumerate(model.cascade.stages):
        (classes, boxes), factor = stage.output_names, STAGE_WEIGHTS[number]
        weights = [factor * weight for weight in config.loss.classifier]
        if config.loss.box == "giou":
            of_deltas = delta_weights_of(number, config.roi.delta_weights)
            box_loss = losses.class_giou_loss_regr(model.num_classes - 1, of_deltas)
        y_class, y_regress = target_names(number) if number or sampled else (None, None)
        normalizer = LossNormalizer(classes, y_class, ops.sum)
        terms += [
            LossTerm("classifier", classes, class_loss, weights[0], normalizer, y_class, True),
            LossTerm("classifier", boxes, box_loss, weights[1], normalizer, y_regress),
        ]
    return terms


def with_common_divisor(terms: Sequence[LossTerm], y: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the targets of a whole batch with masks of boxes that have its divisor.

    A mask has the divisor in it. If each of several processes has made the targets of its own images, it
    is the number of anchors or RoIs in these.

    Args:
        terms: the losses.
        y: {prediction: ``y_true``} of all images.
    """
    changed = {}
    for term in terms:
        if term.target is None and term.output != term.normalizer.output:
            mask, deltas = ops.split(y[term.output], 2, axis=-1)
            count = ops.maximum(term.normalizer.count(y[term.normalizer.output]), 1.0)
            changed[term.output] = ops.concatenate([ops.where(mask > 0, 1 / count, 0), deltas], axis=-1)
    return y | changed


def correct_rois(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return which RoIs have their highest score at the true class, and which are not padding.

    Args:
        y_true: (B, R, C) one-hot; an all-zero row is padding.
        y_pred: (B, R, C) scores.

    Returns:
        correct: (B, R) float32, 1 if the highest score is that of the true class, else 0.
        exists: (B, R) float32, 0 for padding, else 1.
    """
    correct = ops.cast(ops.argmax(y_true, axis=-1) == ops.argmax(y_pred, axis=-1), "float32")
    return correct, ops.sum(y_true, axis=-1)  # a one-hot row adds up to 1
