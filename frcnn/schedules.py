"""What one training step is: which sub-models learn from a batch, in which order, from which features.

A schedule has ``train_step(batch)`` and ``validation_step(batch, generator)``, both returning the same
named scalars, and tells nothing of data, epochs or files. The models it trains are made by
``frcnn.steps``.
"""

import re
import time

import keras
import numpy as np

from frcnn import chance, optimizers, steps
from frcnn.backend import IS_TENSORFLOW, Held, forward, num_workers, sum_over_workers
from frcnn.blocks import leaves
from frcnn.errors import RunError
from frcnn.logging import named_scalars, with_total_loss
from frcnn.rpn_at_cells import sampled_cells
from frcnn.sampling import random_order


class Schedule:
    """What the schedules have in common.

    Args:
        models: ``frcnn.models.Models``.
        config: ``frcnn.config.Config``.
        total_steps: of the run, which the learning rate's course depends on.

    Attributes:
        steps_done: of training; the chance of the next one depends on it alone.
        applied: whether the last step was; one with a loss or gradient that is not finite is left out
            (``optimizers.Guarded``) and changes neither weights, optimizers nor statistics.
        optimizers: {sub-model: the Keras optimizer that trains it}.
        steps: the ``steps.Step`` models that run.
        validated: the ``Models`` whose detections are to be scored.
        phase: part of the run; the weights of a later one count as better than those of one before.
    """

    phase = 1
    applied = True
    steps = ()
    optimizers = {}

    def __init__(self, models, config, total_steps):
        self.models = self.validated = models
        self.config = config
        self.total_steps = total_steps
        self.steps_done = 0
        norms = [layer for layer in leaves(models.detector) if is_batch_norm(layer)]
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
        statistics = Held(self._statistics())
        generator = chance.generator(self.config.train.seed, chance.ROIS, self.steps_done)
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
        misfits = sorted(own.keys() ^ arrays.keys()) or [
            name for name, variable in own.items() if tuple(variable.shape) != arrays[name].shape
        ]
        if misfits:
            raise RunError(
                "the checkpoint is of another network, optimizer or schedule: it does not fit "
                f"{', '.join(misfits[:3])}" + (f" and {len(misfits) - 3} more" if misfits[3:] else "")
            )
        for name, variable in own.items():
            variable.assign(arrays[name])

    def share_statistics(self):
        """Have all workers take the mean of what batch normalization has seen, where it is not frozen.

        Each has seen its own images only.
        """
        variables = self._statistics()
        if num_workers() > 1 and variables:
            sums = sum_over_workers([variable.value for variable in variables])
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
        cells, *targets = sampled_cells(*batch.targets, self.config.rpn.samples)
        inputs = [batch.image_sizes, batch.gt_boxes, batch.gt_labels, order, cells]
        return inputs, dict(zip(self.models.rpn.output_names, targets))


# XLA has no kernel for TensorFlow's NMS and crop_and_resize, and would compile anew for every image
# shape. JAX has nothing else: without it, it would run op by op.
USE_XLA = not IS_TENSORFLOW


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
        self.rpn, self.classifier = steps.rpn_step(models), steps.classifier_step(models)
        self.steps = (self.rpn, self.classifier)
        class_terms = steps.classifier_terms(models, config)
        # The shared layers decay once a step, with the RPN.
        shared = {"undecayed": self.rpn.trainable_variables}
        self.optimizers = {
            "rpn": self._compile(self.rpn, steps.rpn_terms(models, config.loss.rpn)),
            "classifier": self._compile(self.classifier, class_terms, class_terms[0].output, **shared),
        }

    def _step(self, batch, generator, method):
        clock = [time.perf_counter()]
        # One dictionary a call: only names, never positions, say which number is which.
        options = {"sample_weight": batch.weights, "return_dict": True}
        stem = [self.stem(batch.images)] if self.stem else []
        inputs, targets = self._rpn_data(batch, generator)
        both_learn = method == "train_on_batch" and len(self.optimizers) == 2
        held = Held(self.rpn.trainable_variables + self.rpn.optimizer.variables) if both_learn else None
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


class Joint(Schedule):
    """Both sub-models at once: one forward pass, one backward, the four losses added up.

    The "approximate joint training" of Ren et al. 2015, section 3.2: proposals are constants to the
    classifier's loss. Proposals and sampling run inside the step. One optimizer trains everything.
    """

    def __init__(self, models, config, total_steps):
        super().__init__(models, config, total_steps)
        self.step = steps.joint_step(models)
        self.steps = (self.step,)
        class_terms = steps.classifier_terms(models, config, sampled=True)
        terms = steps.rpn_terms(models, config.loss.rpn) + class_terms
        optimizer = self._compile(self.step, terms, class_terms[0].output)
        self.optimizers = {"rpn": optimizer, "classifier": optimizer}

    def _step(self, batch, generator, method):
        start = time.perf_counter()
        inputs, targets = self._rpn_data(batch, generator)
        options = {"sample_weight": batch.weights, "return_dict": True}
        logs = getattr(self.step, method)([batch.images, *inputs], targets, **options)
        scalars = scalars_of(self.models, self.config.loss, logs)
        return scalars | {"time/step": time.perf_counter() - start}


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
        models: ``Models``.
        weights: ``LossConfig``, to add up each sub-model's loss.
        logs: what the ``Step``s of both sub-models returned.
    """
    scalars = {}
    for sub_model, pair in (("rpn", weights.rpn), ("classifier", weights.classifier)):
        outputs = getattr(models, sub_model).output_names
        own = {f"{output}_loss": logs[f"{output}_loss"] for output in outputs}
        own["loss"] = sum(weight * value for weight, value in zip(pair, own.values()))
        own |= {key: logs[key] for key in (f"{outputs[0]}_accuracy",) if key in logs}
        scalars |= named_scalars(sub_model, own)
    return with_total_loss(scalars) | health(logs)


def compile_sub_models(models, config, total_steps):
    """Give each sub-model its losses, its metrics and an optimizer of its own.

    For training them by plain ``train_on_batch`` without a schedule. ``sample_weight`` may be one array
    (B,) for the images, or a list with an array per output, ``frcnn.losses`` says of which shapes.
    ``class_weight``, which Keras does not take for models with several outputs, is the setting
    ``loss.class_weights``::

        classes = {"data.classes": "cat,dog", "loss.class_weights": "cat=2,background=0.5"}
        compile_sub_models(models, config.replace(classes), total_steps=1000)
        models.classifier.train_on_batch(
            [images, rois], [y_class, y_regress], sample_weight=[of_rois, of_rois], return_dict=True
        )
    """
    class_terms = steps.classifier_terms(models, config)
    for model, terms, metrics, undecayed in (
        (models.rpn, steps.rpn_terms(models, config.loss.rpn), None, ()),
        (
            models.classifier,
            class_terms,
            {class_terms[0].output: RoiAccuracy()},
            models.rpn.trainable_variables,
        ),
    ):
        model.compile(
            optimizer=optimizers.make(
                config.optimizer,
                total_steps,
                model.trainable_variables,
                config.train.precision,
                undecayed,
            ),
            loss=[term.loss for term in terms],
            loss_weights=[term.weight for term in terms],
            metrics=metrics,
            jit_compile=USE_XLA,
        )


def health(sampled):
    """Return the scalars that tell whether proposals and sampling work.

    Args:
        sampled: sums over the images of what ``Models.sampler`` gives for each.

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


class RoiAccuracy(keras.metrics.Mean):
    """Share of the RoIs, padding left out, whose most probable class is the right one."""

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: (B, R, C) one-hot; an all-zero row is padding.
            y_pred: (B, R, C) scores.
            sample_weight: (B,) or (B, R), which Keras hands to what is in ``weighted_metrics``.
        """
        right, exists = steps.right_rois(y_true, y_pred)
        if sample_weight is not None:
            weights = keras.ops.cast(sample_weight, "float32")
            exists = exists * (weights[:, None] if len(weights.shape) == 1 else weights)
        # In one axis: else Keras takes a mean per image, and a RoI counts less where there are many.
        super().update_state(*(keras.ops.reshape(part, (-1,)) for part in (right, exists)))
