"""The paper's 4-step alternating training: two networks that in the end share one backbone.

Ren et al. 2015, section 3.2. Each phase has an equal share of the run's steps, and its own optimizer,
warm-up and decay within that share:

| phase | learns | starts from | proposals |
|---|---|---|---|
| 1 | backbone, RPN | the run's initial weights | its own |
| 2 | backbone, head | the run's initial weights | phase 1's network, fixed |
| 3 | the RPN's own layers | phase 2's backbone; the RPN's initial weights | its own |
| 4 | the head's own layers | phase 2's head | phase 3's |

Decided here: phase 3 takes the RPN's initial weights, not phase 1's, which were learnt on another
backbone. The paper does not say; the authors' Caffe code does so, too. Equal shares are simple; that
code gave RPN phases twice the steps. And a phase runs the half that does not learn as well, forward
only, so that every scalar is there in every phase.

What the scalars and the validation are of: in phase 1 the head has its initial weights, so mAP and the
classifier's numbers say nothing yet, the RPN's do. In phase 2 RPN and proposals are phase 1's network
and the classifier is the second network, and the detections are those of the two together. In phases 3
and 4 there is one network.
"""

import bisect
import dataclasses

import keras

from frcnn.backend import IS_TENSORFLOW, forward
from frcnn.errors import ConfigError
from frcnn.layers import proposals
from frcnn.models import faster_rcnn as models_module
from frcnn.models.freezing import flatten_layers
from frcnn.training import step_models
from frcnn.training.alternating import Alternating
from frcnn.training.schedule import USE_XLA, Schedule, numbered

NUM_PHASES = 4


class FourStep(Alternating):
    """A step is an alternating one in which only one half learns, and that half's layers in part.

    Args: those of ``Schedule``; ``models`` with the weights that phases 1 and 2 both start from.

    Attributes:
        phase: 1 to 4, of the last step; a step belongs to a phase by its number alone.
        validated: the ``FasterRCNN`` whose ``detector`` is what this phase detects with.

    ``trainable`` of the layers in ``models`` is set anew for each phase and stays as phase 4 had it.

    Raises:
        ConfigError: fewer steps than phases.
    """

    def __init__(self, models, config, total_steps):
        # Not Alternating's own, which makes both halves learn for the whole run.
        Schedule.__init__(self, models, config, total_steps)
        if total_steps < NUM_PHASES:
            raise ConfigError(f"four-step needs at least {NUM_PHASES} training steps, not {total_steps}")
        self.ends = [round(total_steps * phase / NUM_PHASES) for phase in range(1, NUM_PHASES + 1)]
        # Variables hold more than weights: the state of each dropout's generator.
        self.initial = [
            (variable, keras.ops.convert_to_numpy(variable)) for variable in models.detector.variables
        ]
        rpn, classifier = flatten_layers(models.rpn), flatten_layers(models.classifier)
        self.learning = {1: rpn, 2: classifier, 3: rpn - classifier, 4: classifier - rpn}
        self.trainable = {layer for layer in rpn | classifier if layer.trainable}
        self.stem = forward(models.stem) if models.stem else None
        self.halves = {
            "rpn": step_models.rpn_step(models),
            "classifier": step_models.classifier_step(models),
        }
        self._begin(1)

    def train_step(self, batch):
        """``Schedule.train_step``; the rate of the half that does not learn is 0."""
        phase = bisect.bisect(self.ends[:-1], self.steps_done) + 1
        if phase != self.phase:
            self._begin(phase)
        rates = {"learning_rate/rpn": 0.0, "learning_rate/classifier": 0.0}
        return rates | super().train_step(batch)

    def variables(self):
        """``Schedule.variables``, and in phase 2 the weights of the network that proposes."""
        found = super().variables()
        if self.phase == 2:
            found |= dict(numbered("proposer", self.proposer.detector.variables))
        return found

    def restore(self, steps_done, arrays):
        """``Schedule.restore``, in the phase of the last step that was done."""
        phase = bisect.bisect(self.ends[:-1], max(steps_done, 1) - 1) + 1
        if phase != self.phase:
            self._begin(phase)
        super().restore(steps_done, arrays)

    def _step(self, batch, generator, method):
        return super()._step(batch, generator, method) | {"phase": float(self.phase)}

    def _begin(self, phase):
        """Make the models, the steps and the one optimizer of a phase ready."""
        self.phase = phase
        self.validated = self.models
        halves = dict(self.halves)
        if phase == 2:
            self.proposer = self._frozen_copy()
            self.validated = dataclasses.replace(self.models, detector=joined(self.proposer, self))
            halves["rpn"] = step_models.rpn_step(self.proposer)
        weights = {id(weight) for weight in self.models.detector.weights}
        for variable, value in self.initial:
            if phase == 2 or id(variable) not in weights:
                variable.assign(value)

        # Before the optimizer is built and the step traced: both ask which variables are trainable.
        for layer in self.trainable:
            layer.trainable = layer in self.learning[phase]
        learner = "rpn" if phase % 2 else "classifier"
        start = self.ends[phase - 2] if phase > 1 else 0
        self.optimizers = {}
        for name, step in halves.items():
            terms, accuracy_of = self._terms(name)
            optimizer = "sgd"  # Keras wants one; this one never gets variables
            if name == learner:
                optimizer = self._optimizer(step, self.ends[phase - 1] - start)
                self.optimizers[name] = optimizer
            step.compile(optimizer, terms, accuracy_of, jit_compile=USE_XLA)
        self.steps = tuple(halves.values())
        self.rpn, self.classifier = (
            step if name == learner else EvalOnlyStep(step) for name, step in halves.items()
        )

    def _frozen_copy(self):
        """Return ``FasterRCNN`` of their own with the present weights, none of which can be trained."""
        classes = self.models.num_classes - 1
        copy = models_module.build(self.config, classes, allow_random_frozen=True)
        copy.detector.set_weights(self.models.detector.get_weights())
        copy.detector.trainable = False
        return copy

    def _terms(self, half):
        """Return a half's loss terms, and the prediction that it has an accuracy of, or None."""
        if half == "rpn":
            return step_models.rpn_terms(self.models, self.config.loss.rpn), None
        terms = step_models.classifier_terms(self.models, self.config)
        return terms, terms[0].output


class EvalOnlyStep:
    """A ``StepModel`` that does not learn: what would train it only runs it forward."""

    def __init__(self, step):
        self.train_on_batch = self.test_on_batch = step.test_on_batch


def joined(proposer, schedule):
    """Return a detector of two networks, like ``FasterRCNN.detector``.

    Args:
        proposer: the ``FasterRCNN`` that propose.
        schedule: of the ``models`` that classify, with their ``config``.
    """
    models = schedule.models
    (propose,) = (
        layer for layer in proposer.detector.layers if isinstance(layer, proposals.ProposalLayer)
    )
    images, sizes = models.detector.inputs
    rois = keras.Model(proposer.detector.inputs, propose.output, name="proposer")([images, sizes])
    levels = models.features[: len(models.region_classifier.inputs) - 1]
    scores, deltas = models.region_classifier([levels, rois])
    found = proposals.PostprocessLayer(schedule.config)(rois, scores, deltas, sizes)
    detector = models_module.Forward([images, sizes], found, name="detector")
    detector.compile(jit_compile=not IS_TENSORFLOW)
    return detector
