"""The schedule ``joint``: both sub-models are trained in one step. Ren et al. 2015, section 3.2."""

from __future__ import annotations

import time

import numpy as np

from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.loss_terms import classifier_terms, rpn_terms
from frcnn.training.schedule import Schedule
from frcnn.training.step_models import joint_step_model
from frcnn.training.step_scalars import HostScalars, Logs


class Joint(Schedule):
    """Train both sub-models at once: one forward pass, one backward pass, the sum of the four losses.

    This is the "approximate joint training" of Ren et al. 2015, section 3.2: no gradient of the
    classifier's loss flows through the proposals. One optimizer updates all weights.
    """

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        super().__init__(models, config, total_steps)
        self._build()

    def _build(self) -> None:
        models, config = self.models, self.config
        self.joint_step = joint_step_model(models)
        self.step_models = (self.joint_step,)
        terms = rpn_terms(models, config.loss.rpn) + classifier_terms(models, config, sampled=True)
        optimizer = self._compile(self.joint_step, terms)
        self.optimizers = {"rpn": optimizer, "classifier": optimizer}

    def _train(self, batch: Batch, rng: np.random.Generator) -> tuple[Logs, HostScalars]:
        start = time.perf_counter()
        inputs, targets, weights = self._rpn_data(batch, rng)
        logs, self.outputs = self.joint_step.run(inputs, targets, weights, learn=True)
        return {"joint": logs}, {"time/step": time.perf_counter() - start}
