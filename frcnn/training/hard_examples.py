"""Online hard example mining: only the RoIs with the greatest loss count. Shrivastava et al. 2016.

Of the ``roi.samples`` RoIs of an image, the losses of the classifier are computed for all, and those of
all but ``loss.hard_examples`` of them are set to 0. The paper computes the loss of all proposals, has
them pass NMS, and runs the chosen ones again. Here the proposals have passed the RPN's NMS, and a RoI
without a loss has no gradient, so one pass is enough.

B: images, R: RoIs, K: hard examples per image, C: classes, D: numbers per box regression.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from keras import ops

from frcnn.training.loss_terms import LossTerm

Tensor = Any
Named = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class HardExamples:
    """Changes the classifier's targets, so that only the hard RoIs of each image count.

    A RoI that does not count becomes padding. The losses are divided by the number of RoIs that count.

    Attributes:
        classes, boxes: the classifier's two losses.
        count: K.

    Example:
        >>> step_model.compile(optimizer, terms, select=HardExamples(*classifier_terms, 64))
    """

    classes: LossTerm
    boxes: LossTerm
    count: int

    def __call__(self, y: Named, y_pred: Named) -> tuple[Named, Named]:
        """Return copies of ``y`` and ``y_pred``, one of which has the changed targets.

        Args:
            y: {name: ``y_true``}, as Keras passes it.
            y_pred: {name: output of the step model}. It has the targets if ``LossTerm.target`` is set.
        """
        source = y_pred if self.classes.target else y
        names = [term.target or term.output for term in (self.classes, self.boxes)]
        y_class, y_regress = (source[name] for name in names)
        hard = self.hard(y_class, y_regress, y_pred)
        chosen = y_class * hard[..., None]
        # The mask of the box loss holds 1 / number of RoIs.
        factor = ops.sum(y_class) / ops.maximum(ops.sum(chosen), 1.0)
        mask, deltas = ops.split(y_regress, 2, axis=-1)
        mask = mask * hard[..., None] * factor
        changed = dict(zip(names, (chosen, ops.concatenate([mask, deltas], axis=-1))))
        if self.classes.target:
            return y, y_pred | changed
        return y | changed, y_pred

    def hard(self, y_class: Tensor, y_regress: Tensor, y_pred: Named) -> Tensor:
        """Return (B, R) float32: 1 for the K RoIs of an image with the greatest loss, else 0.

        Args:
            y_class: (B, R, C).
            y_regress: (B, R, 2·(C-1)·D).
            y_pred: has the classifier's predictions.
        """
        of_rois = 0.0
        for term, y_true in ((self.classes, y_class), (self.boxes, y_regress)):
            loss: Any = term.loss  # of frcnn.ops.losses, with a summand for each RoI
            of_rois += term.weight * loss.summands(y_true, ops.cast(y_pred[term.output], "float32"))
        _, index = ops.top_k(ops.stop_gradient(of_rois), self.count)
        return ops.sum(ops.one_hot(index, ops.shape(y_class)[1], dtype="float32"), axis=1)


def of_terms(count: int, terms: Sequence[LossTerm]) -> HardExamples | None:
    """Return the ``HardExamples`` of a step model; None if ``count`` is 0 or it has no classifier.

    Args:
        count: the setting ``loss.hard_examples``.
        terms: the losses of the step model.
    """
    own = [term for term in terms if term.sub_model == "classifier"]
    return HardExamples(own[0], own[1], count) if count and own else None
