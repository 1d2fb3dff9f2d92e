"""The schedule ``alternating``: the two sub-models are trained in turn, as in the old Keras trainers."""

from __future__ import annotations

import time

import keras
import numpy as np

from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.loss_terms import classifier_terms, rpn_terms
from frcnn.training.schedule import Schedule
from frcnn.training.step_models import classifier_step_model, rpn_step_model
from frcnn.training.step_scalars import HostScalars, Logs


class Alternating(Schedule):
    """Train the two sub-models in turn by ``train_on_batch``, as in the old Keras trainers.

    One step has two parts:

    1. The RPN is trained with the images and the anchor targets. The same forward pass makes the
       proposals and samples RoIs from them.
    2. The classifier is trained with these RoIs. It computes the features again, because part 1 has
       changed the shared layers. The RoIs are constants: no gradient flows through them (Ren et al.
       2015, section 3.2).

    The frozen layers of the backbone run once per step: part 2 begins with their output in part 1.

    The old trainers ran the backbone three times per step, frozen layers included: ``train_on_batch``
    and ``predict_on_batch`` of the RPN, and ``train_on_batch`` of the classifier. Here it runs twice.
    The only difference in the result is that the proposals come from the RPN before its update, not
    after it.

    A step applies both updates or none. If the loss or the gradient of the RPN is not finite, the
    classifier is not updated. If the loss or the gradient of the classifier is not finite, the update of
    the RPN is undone. All this is computed on the device, so the host does not wait for the step.
    """

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        super().__init__(models, config, total_steps)
        self._build()

    def _build(self) -> None:
        models, config = self.models, self.config
        self.rpn_step, self.classifier_step = rpn_step_model(models), classifier_step_model(models)
        self.step_models = (self.rpn_step, self.classifier_step)
        self.optimizers = {
            "rpn": self._compile(self.rpn_step, rpn_terms(models, config.loss.rpn)),
            # Weight decay of the shared layers must be applied once per step: the RPN's optimizer does
            # it.
            "classifier": self._compile(
                self.classifier_step,
                classifier_terms(models, config),
                undecayed=self.rpn_step.trainable_variables,
            ),
        }

    def _train(self, batch: Batch, rng: np.random.Generator) -> tuple[Logs, HostScalars]:
        clock = [time.perf_counter()]
        inputs, targets, weights = self._rpn_data(batch, rng)
        rpn_learns, classifier_learns = ("rpn" in self.optimizers, "classifier" in self.optimizers)
        rpn_logs, sampled = self.rpn_step.run(inputs, targets, weights, rpn_learns)
        known = inputs | sampled
        self.outputs = {name: own for name, own in sampled.items() if name != "frozen_features"}
        clock.append(time.perf_counter())

        inputs = {name: known[name] for name in self.classifier_step.input}
        names = self.models.classifier.output_names
        targets = dict(zip(names, (sampled["y_class"], sampled["y_regress"])))
        only_if = rpn_logs.applied if rpn_learns and classifier_learns else None
        classifier_logs, _ = self.classifier_step.run(
            inputs, targets, weights, classifier_learns, only_if
        )
        clock.append(time.perf_counter())
        seconds = dict(zip(("time/rpn", "time/classifier"), np.diff(clock).tolist()))
        return {"rpn": rpn_logs, "classifier": classifier_logs}, seconds

    def _undone_variables(self) -> list[keras.Variable]:
        """Return those of ``Schedule._undone_variables``, and those that the RPN's update changes.

        The RPN is updated before it is known whether the classifier's loss and gradient are finite.
        """
        undone = super()._undone_variables()
        if len(self.optimizers) == 2:
            # Without the variables of LossScaleOptimizer: after a skipped step the loss scale must stay
            # lower.
            optimizer = self.optimizers["rpn"]
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            undone += self.rpn_step.trainable_variables + optimizer.variables
        return undone
