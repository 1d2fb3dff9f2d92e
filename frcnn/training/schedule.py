"""What one training step is: which sub-models learn from a batch, in which order, from which features.

A schedule has ``train_step(batch)`` and ``validation_step(batch, generator)``, both returning the same
named scalars, and tells nothing of data, epochs or files. The models it trains are made by
``frcnn.training.step_models``.
"""

import re

import keras
import numpy as np

from frcnn import rng
from frcnn.backend import IS_TENSORFLOW, Snapshot, all_reduce_sum, num_workers
from frcnn.errors import RunError
from frcnn.logging import named_scalars, with_total_loss
from frcnn.models.freezing import flatten_layers
from frcnn.ops.sampling import random_order
from frcnn.training import optimizers


class Schedule:
    """What the schedules have in common.

    Args:
        models: ``frcnn.models.faster_rcnn.FasterRCNN``.
        config: ``frcnn.config.schema.Config``.
        total_steps: of the run, which the learning rate's course depends on.

    Attributes:
        steps_done: of training; the chance of the next one depends on it alone.
        applied: whether the last step was; one with a loss or gradient that is not finite is left out
            (``optimizers.SkipNonFinite``) and changes neither weights, optimizers nor statistics.
        optimizers: {sub-model: the Keras optimizer that trains it}.
        steps: the ``step_models.StepModel`` models that run.
        validated: the ``FasterRCNN`` whose detections are to be scored.
        phase: part of the run; the weights of a later one count as better than those of one before.
    """

    phase = 1
    applied = True
    step_models = ()
    optimizers = {}

    def __init__(self, models, config, total_steps):
        self.models = self.validated = models
        self.config = config
        self.total_steps = total_steps
        self.steps_done = 0
        norms = [layer for layer in flatten_layers(models.detector) if is_batch_norm(layer)]
        self.norms = sorted(norms, key=lambda norm: norm.name)  # in one order on all workers

    def train_step(self, batch):
        """Learn from a ``Batch`` with RPN targets.

        Returns:
            {TensorBoard tag: float}: losses, accuracy, health of the proposals, rates, seconds, and how
            many graphs were traced so far.
        """
        rates = {
            f"learning_rate/{name}": float(optimizer.learning_rate)
            for name, optimizer in self.optimizers.items()
        }
        before = self._updates()
        # A forward pass changes these before it is known whether its numbers are finite.
        statistics = Snapshot(self._statistics())
        generator = rng.generator(self.config.train.seed, rng.ROIS, self.steps_done)
        scalars = self._step(batch, generator, "train_on_batch")
        self.steps_done += 1
        self.applied = all(new > old for new, old in zip(self._updates(), before))
        if not self.applied:
            statistics.restore()
        return scalars | rates | {"traces": float(sum(step.traces for step in self.steps))}

    def validation_step(self, batch, generator):
        """Return the same scalars of a ``Batch`` without learning from it.

        Args:
            batch: with RPN targets.
            generator: that RoIs are sampled with, apart from training's so that validating changes
                nothing in training.
        """
        return self._step(batch, generator, "test_on_batch")

    def variables(self):
        """Return {name: variable} of everything that training changes, whether it learns it or not."""
        # The detector holds every layer; layers hold dropout's state beside their weights.
        groups = {"model": self.models.detector.variables}
        groups |= {step.name: step.optimizer.variables for step in self.steps}
        return {name: own for group in groups.items() for name, own in numbered(*group)}

    def restore(self, steps_done, arrays):
        """Go on after a step, given the values that ``variables`` had then, {name: array}.

        Raises:
            RunError: they are of another network, optimizer or schedule.
        """
        self.steps_done = steps_done
        own = self.variables()
        mismatched = sorted(own.keys() ^ arrays.keys()) or [
            name for name, variable in own.items() if tuple(variable.shape) != arrays[name].shape
        ]
        if mismatched:
            raise RunError(
                "the checkpoint is of another network, optimizer or schedule: it does not fit "
                f"{', '.join(mismatched[:3])}"
                + (f" and {len(mismatched) - 3} more" if mismatched[3:] else "")
            )
        for name, variable in own.items():
            variable.assign(arrays[name])

    def sync_batch_norm(self):
        """Have all workers take the mean of what batch normalization has seen, where it is not frozen.

        Each has seen its own images only.
        """
        variables = self._statistics()
        if num_workers() > 1 and variables:
            sums = all_reduce_sum([variable.value for variable in variables])
            for variable, whole in zip(variables, sums):
                variable.assign(whole / num_workers())

    def not_finite(self):
        """Return the names, as ``variables`` has them, of all that holds a NaN or an infinity."""
        values = {name: keras.ops.convert_to_numpy(own) for name, own in self.variables().items()}
        return [name for name, array in values.items() if not np.isfinite(array).all()]

    def _statistics(self):
        """Return the moving means and variances of the batch normalization that is not frozen."""
        norms = [norm for norm in self.norms if norm.trainable]
        return [own for norm in norms for own in (norm.moving_mean, norm.moving_variance)]

    def _updates(self):
        return [int(optimizer.iterations) for optimizer in self.optimizers.values()]

    def _compile(self, step, terms, accuracy_of=None, undecayed=()):
        """Give a step its losses and an optimizer of its own, and return that."""
        optimizer = self._optimizer(step, self.total_steps, undecayed)
        step.compile(optimizer, terms, accuracy_of, jit_compile=USE_XLA)
        return optimizer

    def _optimizer(self, step, total_steps, undecayed=()):
        """Return an optimizer for what a step trains, its course as long as some number of steps."""
        options = self.config.train.precision, undecayed
        return optimizers.make(self.config.optimizer, total_steps, step.trainable_variables, *options)

    def _rpn_data(self, batch, generator):
        """Return what a step of the RPN takes after the images, and its targets by output."""
        count = self.config.rpn.post_nms_train + batch.gt_boxes.shape[1]
        # A worker takes its images' part of what one worker would draw for the whole batch.
        order = random_order(generator, batch.total, count)[batch.rows]
        cells, *targets = batch.targets
        inputs = [batch.image_sizes, batch.gt_boxes, batch.gt_labels, order, cells]
        return inputs, dict(zip(self.models.rpn.output_names, targets))


# XLA has no kernel for TensorFlow's NMS and crop_and_resize, and would compile anew for every image
# shape. JAX has nothing else: without it, it would run op by op.
USE_XLA = not IS_TENSORFLOW


def is_batch_norm(layer):
    """Return whether a layer is batch normalization, whose statistics change unless it is frozen."""
    return isinstance(layer, keras.layers.BatchNormalization)


def numbered(group, variables):
    """Yield (name, variable), with names that are the same for the same network in any process."""
    for number, variable in enumerate(variables):
        # Keras counts what it names itself: optimizers, random generators.
        yield f"{group}/{number:04d}/{re.sub(r'_[0-9]+/', '/', variable.path)}", variable


def scalars_of(models, weights, logs):
    """Return the named scalars of one step, whatever it was made of.

    Args:
        models: ``FasterRCNN``.
        weights: ``LossConfig``, to add up each sub-model's loss.
        logs: what the ``StepModel``s of both sub-models returned.
    """
    scalars = {}
    for sub_model, pair in (("rpn", weights.rpn), ("classifier", weights.classifier)):
        outputs = getattr(models, sub_model).output_names
        own = {f"{output}_loss": logs[f"{output}_loss"] for output in outputs}
        own["loss"] = sum(weight * value for weight, value in zip(pair, own.values()))
        own |= {key: logs[key] for key in (f"{outputs[0]}_accuracy",) if key in logs}
        scalars |= named_scalars(sub_model, own)
    return with_total_loss(scalars) | proposal_statistics(logs)


def proposal_statistics(sampled):
    """Return the scalars that tell whether proposals and sampling work.

    Args:
        sampled: sums over the images of what ``FasterRCNN.sampler`` gives for each.

    Returns:
        ``rpn/recall``: share of the ground-truth boxes that some proposal overlaps by the IoU that makes
        a RoI positive (left out where there are no boxes); ``rpn/mean_overlapping_boxes``: proposals
        an image that overlap some box so; ``classifier/positive_rois``: positive RoIs an image
        among the sampled.
    """
    images = max(float(sampled["images"]), 1.0)
    scalars = {
        "rpn/mean_overlapping_boxes": float(sampled["overlapping_boxes"]) / images,
        "classifier/positive_rois": float(sampled["positive_rois"]) / images,
    }
    boxes = float(sampled["gt_count"])
    if boxes:
        scalars["rpn/recall"] = float(sampled["gt_found"]) / boxes
    return scalars
