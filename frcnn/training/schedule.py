"""The base class of the schedules. A schedule decides which sub-model is updated when.

It has ``train_step(batch)`` and ``validation_step(batch, rng)``. The trainer handles data sets, epochs
and files. ``frcnn.training.step_models`` builds the models that a schedule trains.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from frcnn import rng as rng_module
from frcnn.backend import IS_TENSORFLOW, Undo
from frcnn.collectives import all_reduce_sum, num_processes, shares_are_apart
from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.errors import RunError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import flatten_layers
from frcnn.ops.sampling import random_order
from frcnn.training import hard_examples, learning_rate, optimizers, unfreezing
from frcnn.training.loss_terms import LossTerm, classifier_terms, rpn_terms
from frcnn.training.step_arrays import ToDevice
from frcnn.training.step_model import StepModel
from frcnn.training.step_models import validation_step_model
from frcnn.training.step_scalars import HostScalars, Logs, StepScalars, step_scalars
from frcnn.training.variable_names import numbered
from frcnn.training.weight_average import WeightAverage

Tensor = Any

# JAX without XLA would run op by op. With TensorFlow, XLA has no kernel for the fastest NMS and for
# crop_and_resize, and compiles again for every image shape. So it is used only with ``train.xla``.
USE_XLA = not IS_TENSORFLOW


class Schedule(abc.ABC):
    """Base class of the schedules.

    A subclass sets ``step_models`` and ``optimizers`` in ``_build``, and implements ``_train``.

    Args:
        models: the network to train.
        config: the settings from which the network was built.
        total_steps: number of steps of the run; the learning rate depends on it.

    Attributes:
        steps_done: number of training steps so far. The random numbers of a step depend only on it and
            on the run's seed.
        step_models: the models that a training step runs.
        optimizers: {"rpn" or "classifier": the Keras optimizer that trains it}.
        phase: current phase of the run, from 1. Only ``four-step`` has more than one. Weights of a later
            phase count as better than those of an earlier phase.
        has_one_network: False while the proposals come from a second network, in phase 2 of
            ``four-step``; otherwise True.
        average: ``WeightAverage`` of the network's weights; None without ``train.ema``.
        outputs: {name: tensor} of the last step, on the device. After a training step it has ``rois``
            and ``y_class``, after a validation step all outputs of ``validation_step_model``.
    """

    phase = 1
    has_one_network = True
    step_models: tuple[StepModel, ...] = ()
    optimizers: dict[str, Any] = {}
    outputs: Mapping[str, Any] = {}

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        self.models = models
        self.config = config
        self.total_steps = total_steps
        self.steps_done = 0
        self._uses_xla = USE_XLA or config.train.xla
        self._validation_step: StepModel | None = None
        self._undo: Undo | None = None  # made by the first step
        norms = [layer for layer in flatten_layers(models.detector) if is_batch_norm(layer)]
        self.norms = sorted(norms, key=lambda norm: norm.name)  # the same order in all processes
        self.average: WeightAverage | None = None
        self.frozen = unfreezing.frozen_layers(models, config)  # those that will learn later
        for layer in self.frozen:
            layer.trainable = True
        if config.train.ema:
            averaged = models.detector.trainable_variables + self._statistics()
            self.average = WeightAverage(averaged, config.train.ema)
        for layer in self.frozen:
            layer.trainable = False

    def train_step(self, batch: Batch) -> StepScalars:
        """Update the weights with one batch, which has RPN targets.

        Returns:
            {TensorBoard tag: value}: losses, accuracy, proposal statistics, learning rates, seconds, and
            the number of graphs traced so far. The values stay on the device until one of them is read.
        """
        self._unfreeze_if_due(self.steps_done)
        rng = rng_module.generator(self.config.train.seed, rng_module.ROIS, self.steps_done)
        undo = self._undo or self._prepare_steps()
        if self._uses_xla:
            undo.keep()
        logs, of_host = self._train(batch, rng)
        # The last sub-model that was updated: ``applied`` of it is 0 if any part of the step failed.
        *_, applied = (own.applied for own in logs.values() if own.applied is not None)
        if self._uses_xla:
            undo.restore_unless(applied)
            if self.average:
                self.average.update(applied)
        self.steps_done += 1
        traces = sum(step_model.traces for step_model in self.step_models)
        return StepScalars(logs, self._scalars, of_host | {"traces": float(traces)})

    def _prepare_steps(self) -> Undo:
        """Make ``_undo``. Without XLA, undo and average become part of the compiled steps."""
        undo = self._undo = Undo(self._undone_variables())
        if not self._uses_xla:
            learning = [own for own in self.step_models if own.optimizer in self.optimizers.values()]
            if undo.variables:
                learning[0].before_step = (undo.keep_in_graph,)
                learning[-1].after_step = (undo.restore_in_graph,)
            if self.average:
                learning[-1].after_step += (self.average.update_in_graph,)
        return undo

    def _unfreeze_if_due(self, steps_done: int) -> None:
        """Before the first step of ``model.unfreeze_at``: let the frozen stages learn from now on."""
        if not self.frozen or steps_done < unfreezing.first_step(self.config, self.total_steps):
            return
        for layer in self.frozen:
            layer.trainable = True
        self.frozen = []
        self.models.frozen_backbone = None
        self._validation_step = self._undo = None
        before = self.optimizers
        self._build()
        for name, optimizer in self.optimizers.items():
            unfreezing.carry_over(before[name], optimizer)

    @abc.abstractmethod
    def _build(self) -> None:
        """Set ``step_models`` and ``optimizers`` for the layers that are trainable now."""

    @abc.abstractmethod
    def _train(self, batch: Batch, rng: np.random.Generator) -> tuple[Logs, HostScalars]:
        """Run the step models on a batch.

        Args:
            batch: with RPN targets.
            rng: generator for sampling RoIs.

        Returns:
            {"rpn", "classifier" or "joint": its ``StepLogs``}, in the order of the updates. ``applied``
            of the last update must be 0 if an earlier update was skipped. {tag: value} of scalars that
            are already on the host, such as seconds.
        """

    def _undone_variables(self) -> list[keras.Variable]:
        """Return the variables to restore after a step that is not applied.

        The optimizers skip their own update. The forward pass has changed the statistics of batch
        normalization before.
        """
        return self._statistics()

    def _scalars(self, logs: dict[str, dict[str, float]]) -> dict[str, float]:
        """Return {TensorBoard tag: value} of a training step.

        Args:
            logs: {"rpn", "classifier" or "joint": {name: number}}. Only a part that was updated has
                ``gradient_norm`` and ``learning_rate``. ``self.optimizers`` does not tell this, because
                a later phase may have begun before the logs are read.
        """
        every = {key: value for own in logs.values() for key, value in own.items()}
        scalars = step_scalars(self.models, every)
        for name, own in logs.items():
            if "gradient_norm" in own:
                scalars[f"gradient_norm/{name}"] = own["gradient_norm"]
            if "learning_rate" in own:
                learners = ("rpn", "classifier") if name == "joint" else (name,)
                scalars |= {f"learning_rate/{learner}": own["learning_rate"] for learner in learners}
        return scalars

    def validation_step(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Compute the losses and the detections of a batch in one forward pass. No weight changes.

        Args:
            batch: a batch with RPN targets.
            rng: generator for sampling RoIs.

        Returns:
            {TensorBoard tag: value}: losses, accuracy and proposal statistics.
            The outputs of ``FasterRCNN.detector``: boxes (B, M, 4), scores (B, M), labels (B, M).
        """
        if self._validation_step is None:
            self._validation_step = self._make_validation_step()
        inputs, targets, weights = self._rpn_data(batch, rng)
        logs, found = self._validation_step.run(inputs, targets, weights, learn=False)
        self.outputs, names = found, ("boxes", "scores", "labels")
        detections = tuple(keras.ops.convert_to_numpy(found[name]) for name in names)
        return step_scalars(self.models, logs.read()), detections

    def _make_validation_step(self, proposer=None):
        terms = rpn_terms(self.models, self.config.loss.rpn)
        terms += classifier_terms(self.models, self.config, sampled=True)
        step_model = validation_step_model(self.models, proposer)
        step_model.compile(None, terms, jit_compile=USE_XLA)
        return step_model

    def variables(self) -> dict[str, keras.Variable]:
        """Return {name: variable} of everything that training changes."""
        # The detector contains all layers. Their variables are the weights and the state of dropout.
        groups = {"model": self.models.detector.variables}
        if self.average:
            groups["average"] = [*self.average.averages, self.average.count]
        groups |= {step_model.name: step_model.optimizer.variables for step_model in self.step_models}
        return {name: own for group in groups.items() for name, own in numbered(*group)}

    def restore(self, steps_done: int, arrays: dict[str, np.ndarray]) -> None:
        """Restore the state after a training step.

        Args:
            steps_done: number of the step.
            arrays: {name: value}, the values that ``variables`` had after that step.

        Raises:
            RunError: names or shapes are not those of this network, optimizer and schedule.
        """
        self.steps_done = steps_done
        self._unfreeze_if_due(steps_done - 1)  # as the last finished step left it
        own = self.variables()
        mismatched = sorted(own.keys() ^ arrays.keys()) or [
            name for name, variable in own.items() if tuple(variable.shape) != arrays[name].shape
        ]
        if mismatched:
            raise RunError(
                "the checkpoint belongs to another network, optimizer or schedule: it does not fit "
                f"{', '.join(mismatched[:3])}"
                + (f" and {len(mismatched) - 3} more" if mismatched[3:] else "")
            )
        for name, variable in own.items():
            variable.assign(arrays[name])

    def sync_batch_norm(self) -> None:
        """Replace the statistics of batch normalization by their mean over all processes.

        With TensorFlow each process has updated them with its own images only. Those of frozen layers do
        not change.
        """
        variables = self._statistics()
        if self.average:
            variables += self.average.of(variables)
        if shares_are_apart() and variables:
            sums = all_reduce_sum([variable.value for variable in variables])
            for variable, whole in zip(variables, sums):
                variable.assign(whole / num_processes())

    def averaged_weights(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the network has the averaged weights, if the run has such."""
        return self.average.shown() if self.average else contextlib.nullcontext()

    def trained_weights(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the network has the weights that steps train, for a checkpoint."""
        return self.average.shown(averaged=False) if self.average else contextlib.nullcontext()

    def not_finite(self) -> list[str]:
        """Return the names, as in ``variables``, of the variables that hold NaN or infinity."""
        values = {name: keras.ops.convert_to_numpy(own) for name, own in self.variables().items()}
        return [name for name, array in values.items() if not np.isfinite(array).all()]

    def _statistics(self):
        """Return the moving means and variances of all batch normalization that is not frozen."""
        norms = [norm for norm in self.norms if norm.trainable]
        return [own for norm in norms for own in (norm.moving_mean, norm.moving_variance)]

    def _compile(self, step_model: StepModel, terms: Sequence[LossTerm], undecayed=()):
        """Compile a step model with its losses and a new optimizer; return the optimizer."""
        optimizer = self._optimizer(step_model, self.total_steps, undecayed)
        select = hard_examples.of_terms(self.config.loss.hard_examples, terms)
        step_model.compile(optimizer, terms, jit_compile=self._uses_xla, select=select)
        return optimizer

    def _optimizer(self, step_model: StepModel, total_steps: int, undecayed=()):
        """Return an optimizer for the variables of a step model."""
        rate = learning_rate.of_config(self.config, total_steps)
        options = self.config.train.precision, undecayed
        return optimizers.make(self.config.optimizer, rate, step_model.trainable_variables, *options)

    def _rpn_data(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return the inputs of a step model with an RPN, the RPN's targets, and the images' weights.

        They are on the device; the loader may have put them there.

        Args:
            batch: a batch with RPN targets.
            rng: generator for sampling RoIs.
        """
        arrays = ToDevice()(batch) if batch.on_device is None else batch.on_device
        inputs = {
            name: arrays[name] for name in ("images", "image_sizes", "gt_boxes", "gt_labels", "cells")
        }
        count = self.config.rpn.post_nms_train + batch.gt_boxes.shape[1]
        # Each process draws random orders for the whole batch and takes those of its own images. So the
        # sampled RoIs do not depend on the number of processes.
        inputs["order"] = random_order(rng, batch.total, count)[batch.rows]
        targets = arrays["y_class"], arrays["y_regress"]
        return inputs, dict(zip(self.models.rpn.output_names, targets)), arrays["weights"]


def is_batch_norm(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is batch normalization; its statistics change unless it is frozen."""
    return isinstance(layer, keras.layers.BatchNormalization)
