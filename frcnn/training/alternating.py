"""The two sub-models in turn by ``train_on_batch``, as in the old Keras trainers."""

from __future__ import annotations

import time

import numpy as np

from frcnn.backend import Snapshot, forward
from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.loss_terms import classifier_terms, rpn_terms
from frcnn.training.schedule import Schedule, step_scalars
from frcnn.training.step_models import classifier_step_model, rpn_step_model


class Alternating(Schedule):
    """The two sub-models in turn, by ``train_on_batch``, as in the old Keras trainers.

    First the RPN learns from the image and its anchor targets. RoIs are sampled among the proposals of
    the same forward pass. Then the classifier learns from these RoIs, on features computed anew, as the
    RPN's step has changed the shared layers. Frozen layers run once, for both. The proposals are
    constants to the classifier's step, as in Ren et al. 2015, section 3.2.

    Two sub-models that know nothing of each other need a third pass through the backbone, and pass
    through the frozen layers three times. In return, proposals are those of the RPN before its update.

    A step is applied as a whole or not at all. Where the RPN's part is not finite, the classifier only
    runs forward; where the classifier's is not, the RPN's update is undone.
    """

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        super().__init__(models, config, total_steps)
        self.frozen_part = forward(models.frozen_backbone) if models.frozen_backbone else None
        self.rpn_step, self.classifier_step = rpn_step_model(models), classifier_step_model(models)
        self.step_models = (self.rpn_step, self.classifier_step)
        self.optimizers = {
            "rpn": self._compile(self.rpn_step, rpn_terms(models, config.loss.rpn)),
            # The shared layers decay once per step, with the RPN.
            "classifier": self._compile(
                self.classifier_step,
                classifier_terms(models, config),
                undecayed=self.rpn_step.trainable_variables,
            ),
        }

    def _train(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        clock = [time.perf_counter()]
        features = {"frozen_features": self.frozen_part(batch.images)} if self.frozen_part else {}
        inputs, targets = self._rpn_data(batch, rng)
        rpn_learns, classifier_learns = ("rpn" in self.optimizers, "classifier" in self.optimizers)
        before_rpn = None
        if rpn_learns and classifier_learns:
            before_rpn = Snapshot(self.rpn_step.trainable_variables + self.rpn_step.optimizer.variables)
        updates = self._updates()
        logs, sampled = self.rpn_step.run(inputs | features, targets, batch.weights, rpn_learns)
        self.outputs = sampled
        if before_rpn and self._updates() == updates:
            before_rpn, classifier_learns = None, False
        clock.append(time.perf_counter())

        inputs = {**(features or {"images": batch.images}), "rois": sampled["rois"]}
        names = self.models.classifier.output_names
        targets = dict(zip(names, (sampled["y_class"], sampled["y_regress"])))
        updates = self._updates()
        classifier_logs, _ = self.classifier_step.run(inputs, targets, batch.weights, classifier_learns)
        if before_rpn and self._updates() == updates:
            before_rpn.restore()
        clock.append(time.perf_counter())

        seconds = dict(zip(("time/rpn", "time/classifier"), np.diff(clock).tolist()))
        norms = {
            f"gradient_norm/{name}": own["gradient_norm"]
            for name, own in (("rpn", logs), ("classifier", classifier_logs))
            if "gradient_norm" in own
        }
        return step_scalars(self.models, logs | classifier_logs) | norms | seconds
