"""The schedule ``alternating``: the two sub-models learn in turn, as in the old Keras trainers."""

from __future__ import annotations

import time

import keras
import numpy as np

from frcnn.backend import forward
from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.loss_terms import classifier_terms, rpn_terms
from frcnn.training.schedule import Schedule
from frcnn.training.step_models import classifier_step_model, rpn_step_model
from frcnn.training.step_scalars import HostScalars, Logs, Tensor


class Alternating(Schedule):
    """Train the two sub-models in turn by ``train_on_batch``, as in the old Keras trainers.

    One step has two parts:

    1. The RPN learns from the images and the anchor targets. The same forward pass makes the proposals
       and samples RoIs from them.
    2. The classifier learns from these RoIs. It computes the features again, because part 1 has changed
       the shared layers. The RoIs are constants: no gradient flows through them (Ren et al. 2015,
       section 3.2).

    The frozen layers of the backbone run once per step; both parts use their output.

    The old trainers called ``train_on_batch`` and ``predict_on_batch`` on the RPN and then
    ``train_on_batch`` on the classifier: three passes through the backbone, frozen layers included. A
    step here has two passes. The difference: its proposals come from the RPN before the update.

    Either both updates of a step are applied or none. If the RPN's loss or gradient is not finite, the
    classifier does not learn. If the classifier's is not finite, the RPN's update is undone. The device
    decides this, so the host can hand over the next step without waiting.
    """

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        super().__init__(models, config, total_steps)
        self.frozen_part = forward(models.frozen_backbone) if models.frozen_backbone else None
        self.rpn_step, self.classifier_step = rpn_step_model(models), classifier_step_model(models)
        self.step_models = (self.rpn_step, self.classifier_step)
        self.optimizers = {
            "rpn": self._compile(self.rpn_step, rpn_terms(models, config.loss.rpn)),
            # The RPN's optimizer decays the shared layers. They must decay only once per step.
            "classifier": self._compile(
                self.classifier_step,
                classifier_terms(models, config),
                undecayed=self.rpn_step.trainable_variables,
            ),
        }

    def _train(self, batch: Batch, images: Tensor, rng: np.random.Generator) -> tuple[Logs, HostScalars]:
        clock = [time.perf_counter()]
        features = {"frozen_features": self.frozen_part(images)} if self.frozen_part else {}
        inputs, targets = self._rpn_data(batch, images, rng)
        rpn_learns, classifier_learns = ("rpn" in self.optimizers, "classifier" in self.optimizers)
        rpn_logs, sampled = self.rpn_step.run(inputs | features, targets, batch.weights, rpn_learns)
        self.outputs = sampled
        clock.append(time.perf_counter())

        inputs = {**(features or {"images": images}), "rois": sampled["rois"]}
        names = self.models.classifier.output_names
        targets = dict(zip(names, (sampled["y_class"], sampled["y_regress"])))
        only_if = rpn_logs["applied"] if rpn_learns and classifier_learns else None
        classifier_logs, _ = self.classifier_step.run(
            inputs, targets, batch.weights, classifier_learns, only_if
        )
        clock.append(time.perf_counter())
        seconds = dict(zip(("time/rpn", "time/classifier"), np.diff(clock).tolist()))
        return {"rpn": rpn_logs, "classifier": classifier_logs}, seconds

    def _undone_variables(self) -> list[keras.Variable]:
        """``Schedule._undone_variables``, and what the RPN's update changes.

        The RPN is updated before it is known whether the classifier's part of the step is finite.
        """
        undone = super()._undone_variables()
        if len(self.optimizers) == 2:
            # Not the scale of the losses: after a skipped step it must stay lower.
            optimizer = self.optimizers["rpn"]
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            undone += self.rpn_step.trainable_variables + optimizer.variables
        return undone
