"""The two sub-models in turn by ``train_on_batch``, as in the old Keras trainers."""

import time

import numpy as np

from frcnn.backend import Snapshot, forward
from frcnn.training import step_models
from frcnn.training.schedule import Schedule, scalars_of


class Alternating(Schedule):
    """The two sub-models in turn, by ``train_on_batch``, as in the old Keras trainers.

    First the RPN learns from the image and its anchor targets. RoIs are sampled among the proposals of
    the same forward pass, and the classifier learns from those on features computed anew, which the
    RPN's step has just changed. Frozen layers run once, for both. The proposals are constants to the
    classifier's step, as in Ren et al. 2015, section 3.2.

    What that saves, against two sub-models that know nothing of each other: a third pass through the
    backbone, and the frozen layers' second and third. What it changes: the proposals are those of the
    RPN before its update, not after.

    A step is applied as a whole or not at all. Where the RPN's part is not finite, the classifier only
    runs forward; where the classifier's is not, the RPN's update is undone.
    """

    def __init__(self, models, config, total_steps):
        super().__init__(models, config, total_steps)
        self.stem = forward(models.stem) if models.stem else None
        self.rpn, self.classifier = step_models.rpn_step(models), step_models.classifier_step(models)
        self.steps = (self.rpn, self.classifier)
        class_terms = step_models.classifier_terms(models, config)
        # The shared layers decay once a step, with the RPN.
        shared = {"undecayed": self.rpn.trainable_variables}
        self.optimizers = {
            "rpn": self._compile(self.rpn, step_models.rpn_terms(models, config.loss.rpn)),
            "classifier": self._compile(self.classifier, class_terms, class_terms[0].output, **shared),
        }

    def _step(self, batch, generator, method):
        clock = [time.perf_counter()]
        # One dictionary a call: only names, never positions, say which number is which.
        options = {"sample_weight": batch.weights, "return_dict": True}
        stem = [self.stem(batch.images)] if self.stem else []
        inputs, targets = self._rpn_data(batch, generator)
        both_learn = method == "train_on_batch" and len(self.optimizers) == 2
        held = (
            Snapshot(self.rpn.trainable_variables + self.rpn.optimizer.variables) if both_learn else None
        )
        before = self._updates()
        rpn_logs = getattr(self.rpn, method)([batch.images, *stem, *inputs], targets, **options)
        if both_learn and self._updates() == before:
            both_learn, method = False, "test_on_batch"
        clock.append(time.perf_counter())

        inputs = [*(stem or [batch.images]), rpn_logs["rois"]]
        targets = [rpn_logs["y_class"], rpn_logs["y_regress"]]
        targets = dict(zip(self.models.classifier.output_names, targets))
        before = self._updates()
        classifier_logs = getattr(self.classifier, method)(inputs, targets, **options)
        if both_learn and self._updates() == before:
            held.restore()
        clock.append(time.perf_counter())

        scalars = scalars_of(self.models, self.config.loss, rpn_logs | classifier_logs)
        seconds = dict(zip(("time/rpn", "time/classifier"), np.diff(clock).tolist()))
        return scalars | seconds
