"""The schedule ``four-step``: the 4-step alternating training of Ren et al. 2015, section 3.2.

It trains two networks, which share one backbone at the end. Each phase has a quarter of the run's steps,
and its own optimizer, warm-up and learning rate decay:

| phase | trained layers | initial weights | proposals |
|---|---|---|---|
| 1 | backbone, RPN | those of the run | of its own RPN |
| 2 | backbone, head | those of the run | of the network of phase 1, which is fixed |
| 3 | the RPN's own layers | backbone of phase 2; RPN: those of the run | of its own RPN |
| 4 | the head's own layers | head of phase 2 | of the RPN of phase 3 |

In phase 3 the RPN starts from the run's initial weights, not from those of phase 1, which were trained
on another backbone. The paper does not say which; the authors' Caffe code does the same. Their code
trains the RPN with twice as many steps as the head; here all phases have the same number. Each phase
also runs the sub-model that is not trained, forward only, so that all scalars exist in every phase.

In phase 1 the head has its initial weights, so mAP and the classifier's scalars have no meaning yet. In
phase 2 the RPN's scalars are those of the network of phase 1, the classifier's scalars are those of the
second network, and the detections come from both. In phases 3 and 4 there is one network.
"""

from __future__ import annotations

import bisect

import keras
import numpy as np

from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import flatten_layers
from frcnn.training import hard_examples
from frcnn.training.alternating import Alternating
from frcnn.training.loss_terms import classifier_terms, rpn_terms
from frcnn.training.schedule import Schedule
from frcnn.training.step_models import classifier_step_model, rpn_step_model
from frcnn.training.step_scalars import HostScalars, Logs, StepScalars
from frcnn.training.variable_names import numbered

NUM_PHASES = 4


class FourStep(Alternating):
    """Alternating steps in which only one sub-model is trained.

    Each phase sets ``trainable`` of the layers in ``models``.

    Args:
        models: network with the run's initial weights.
        config: the settings from which the network was built.
        total_steps: number of steps of the run.

    Attributes:
        phase: phase of the last step, 1 to 4. It depends only on the number of the step.

    Raises:
        ConfigError: there are fewer steps than phases.
    """

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        # Not the constructor of Alternating, which compiles both sub-models for the whole run.
        Schedule.__init__(self, models, config, total_steps)
        if total_steps < NUM_PHASES:
            raise ConfigError(f"four-step needs at least {NUM_PHASES} training steps, not {total_steps}")
        self.ends = [round(total_steps * phase / NUM_PHASES) for phase in range(1, NUM_PHASES + 1)]
        # All variables: weights, and the random state of each dropout layer.
        self.initial = [
            (variable, keras.ops.convert_to_numpy(variable)) for variable in models.detector.variables
        ]
        rpn, classifier = flatten_layers(models.rpn), flatten_layers(models.classifier)
        self.learning = {1: rpn, 2: classifier, 3: rpn - classifier, 4: classifier - rpn}
        self.trainable = {layer for layer in rpn | classifier if layer.trainable}
        self.own_rpn_step = rpn_step_model(models)
        self.classifier_step = classifier_step_model(models)
        self._begin(1)

    def train_step(self, batch: Batch) -> StepScalars:
        """Begin a new phase if it is due, and run ``Schedule.train_step``."""
        phase = bisect.bisect(self.ends[:-1], self.steps_done) + 1
        if phase != self.phase:
            self._begin(phase)
        return super().train_step(batch)

    def _train(self, batch: Batch, rng: np.random.Generator) -> tuple[Logs, HostScalars]:
        logs, of_host = super()._train(batch, rng)
        return logs, of_host | {"phase": float(self.phase)}

    def _scalars(self, logs: dict[str, dict[str, float]]) -> dict[str, float]:
        """Add to ``Schedule._scalars`` learning rate 0 and gradient norm 0 of the fixed sub-model."""
        scalars = super()._scalars(logs)
        for kind in ("learning_rate", "gradient_norm"):
            if any(tag.startswith(f"{kind}/") for tag in scalars):  # mixed_float16 has no gradient norm
                scalars = {f"{kind}/rpn": 0.0, f"{kind}/classifier": 0.0} | scalars
        return scalars

    def validation_step(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Run ``Schedule.validation_step``; in phase 2 with proposals of the network of phase 1."""
        scalars, detections = super().validation_step(batch, rng)
        return scalars | {"phase": float(self.phase)}, detections

    def variables(self) -> dict[str, keras.Variable]:
        """Return ``Schedule.variables``, and in phase 2 the weights of the network of phase 1."""
        found = super().variables()
        if self.phase == 2:
            found |= dict(numbered("proposer", self.proposer.detector.variables))
        return found

    def restore(self, steps_done: int, arrays: dict[str, np.ndarray]) -> None:
        """Set the phase of the last finished step, and run ``Schedule.restore``."""
        phase = bisect.bisect(self.ends[:-1], max(steps_done, 1) - 1) + 1
        if phase != self.phase:
            self._begin(phase)
        super().restore(steps_done, arrays)

    def _begin(self, phase):
        """Set weights, trainable layers, step models and the optimizer for a phase."""
        self.phase = phase
        self.has_one_network = phase != 2
        self.proposer = self._frozen_copy() if phase == 2 else None
        self.rpn_step = rpn_step_model(self.proposer) if phase == 2 else self.own_rpn_step
        self.step_models = (self.rpn_step, self.classifier_step)
        self._validation_step = self._undo = None
        weights = {id(weight) for weight in self.models.detector.weights}
        for variable, value in self.initial:
            if phase == 2 or id(variable) not in weights:
                variable.assign(value)

        # Before the optimizer is built and the step is traced, because both depend on ``trainable``.
        for layer in self.trainable:
            layer.trainable = layer in self.learning[phase]
        learner = "rpn" if phase % 2 else "classifier"
        steps = self.ends[phase - 1] - (self.ends[phase - 2] if phase > 1 else 0)
        self.optimizers = {}
        for name, step_model, terms in (
            ("rpn", self.rpn_step, rpn_terms(self.models, self.config.loss.rpn)),
            ("classifier", self.classifier_step, classifier_terms(self.models, self.config)),
        ):
            optimizer = "sgd"  # not used: the other sub-model is not trained
            if name == learner:
                optimizer = self.optimizers[name] = self._optimizer(step_model, steps)
            select = hard_examples.of_terms(self.config.loss.hard_examples, terms)
            step_model.compile(optimizer, terms, jit_compile=self._uses_xla, select=select)

    def _make_validation_step(self):
        return super()._make_validation_step(self.proposer)

    def _frozen_copy(self):
        """Return a copy of the network with its current weights and no trainable layer."""
        classes = self.models.num_classes
        copy = FasterRCNN.from_config(self.config, classes, allow_random_frozen=True)
        copy.detector.set_weights(self.models.detector.get_weights())
        copy.detector.trainable = False
        return copy
