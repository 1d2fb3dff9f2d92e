"""The base of the schedules: which sub-models learn from a batch, in which order.

A schedule has ``train_step(batch)`` and ``validation_step(batch, rng)``. The trainer handles data sets,
epochs and files. ``frcnn.training.step_models`` makes the models that a schedule trains.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from frcnn import rng as rng_module
from frcnn.backend import IS_TENSORFLOW, Snapshot
from frcnn.collectives import all_reduce_sum, num_processes
from frcnn.config.schema import Config
from frcnn.data.loader import Batch
from frcnn.errors import RunError
from frcnn.logging import named_scalars, with_total_loss
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import flatten_layers
from frcnn.ops.sampling import random_order
from frcnn.training import optimizers
from frcnn.training.loss_terms import LossTerm, classifier_terms, rpn_terms
from frcnn.training.step_models import StepModel, validation_step_model

# With TensorFlow, XLA has no kernel for NMS and crop_and_resize, and it would compile again for every
# image shape. JAX can only compile with XLA; otherwise it runs op by op.
USE_XLA = not IS_TENSORFLOW


class Schedule(abc.ABC):
    """Base class of the schedules.

    A subclass sets ``step_models`` and ``optimizers``.

    Args:
        models: the network to train.
        config: the settings from which the network was built.
        total_steps: number of steps of the run; the learning rate depends on it.

    Attributes:
        steps_done: number of training steps so far; it alone seeds the next step's random numbers.
        applied: whether the last training step changed the weights. A step with a loss or gradient that
            is not finite is skipped (``optimizers.SkipNonFinite``): it changes no weight, no optimizer
            and no statistics of batch normalization.
        step_models: the models that a training step runs.
        optimizers: {sub-model: the Keras optimizer that trains it}.
        phase: number of the part of the run, from 1; only ``four-step`` has more than one. Weights of a
            later phase count as better than those of an earlier phase.
        has_one_network: whether validation uses ``models`` alone. It is False where proposals come from
            a second network, in phase 2 of ``four-step``.
        outputs: of the last step, on the device. After a training step: ``rois`` and ``y_class``.
            After a validation step: all outputs of ``validation_step_model``.
    """

    phase = 1
    applied = True
    has_one_network = True
    step_models: tuple[StepModel, ...] = ()
    optimizers: dict[str, Any] = {}
    outputs: Mapping[str, Any] = {}

    def __init__(self, models: FasterRCNN, config: Config, total_steps: int):
        self.models = models
        self.config = config
        self.total_steps = total_steps
        self.steps_done = 0
        self._validation_step: StepModel | None = None
        norms = [layer for layer in flatten_layers(models.detector) if is_batch_norm(layer)]
        self.norms = sorted(norms, key=lambda norm: norm.name)  # the same order in all processes

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Update the weights with one batch, which has RPN targets.

        Returns:
            {TensorBoard tag: value}: losses, accuracy, proposal statistics, learning rates, seconds, and
            the number of graphs traced so far.
        """
        rates = {
            f"learning_rate/{name}": float(optimizer.learning_rate)
            for name, optimizer in self.optimizers.items()
        }
        updates = self._updates()
        # The forward pass changes these statistics before it is known whether the step is finite.
        statistics = Snapshot(self._statistics())
        rng = rng_module.generator(self.config.train.seed, rng_module.ROIS, self.steps_done)
        scalars = self._train(batch, rng)
        self.steps_done += 1
        self.applied = all(new > old for new, old in zip(self._updates(), updates))
        if not self.applied:
            statistics.restore()
        traces = sum(step_model.traces for step_model in self.step_models)
        return scalars | rates | {"traces": float(traces)}

    @abc.abstractmethod
    def _train(self, batch: Batch, rng: np.random.Generator) -> dict[str, float]:
        """Run the step models on a batch and return the scalars."""

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
        inputs, targets = self._rpn_data(batch, rng)
        logs, outputs = self._validation_step.run(inputs, targets, batch.weights, learn=False)
        self.outputs = outputs
        names = ("boxes", "scores", "labels")
        detections = tuple(keras.ops.convert_to_numpy(outputs[name]) for name in names)
        return step_scalars(self.models, logs), detections

    def _make_validation_step(self, proposer=None):
        terms = rpn_terms(self.models, self.config.loss.rpn)
        terms += classifier_terms(self.models, self.config, sampled=True)
        step_model = validation_step_model(self.models, proposer)
        step_model.compile(None, terms, jit_compile=USE_XLA)
        return step_model

    def variables(self) -> dict[str, keras.Variable]:
        """Return {name: variable} of everything that training changes."""
        # The detector holds every layer; layers hold dropout's state beside their weights.
        groups = {"model": self.models.detector.variables}
        groups |= {step_model.name: step_model.optimizer.variables for step_model in self.step_models}
        return {name: own for group in groups.items() for name, own in numbered(*group)}

    def restore(self, steps_done: int, arrays: dict[str, np.ndarray]) -> None:
        """Restore the state after a training step.

        Args:
            steps_done: number of the step.
            arrays: {name: value}, the values that ``variables`` had after that step.

        Raises:
            RunError: the values belong to another network, optimizer or schedule.
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

    def sync_batch_norm(self) -> None:
        """Replace the statistics of batch normalization by their mean over all processes.

        Each process has updated them with its own images only. Frozen layers do not change theirs.
        """
        variables = self._statistics()
        if num_processes() > 1 and variables:
            sums = all_reduce_sum([variable.value for variable in variables])
            for variable, whole in zip(variables, sums):
                variable.assign(whole / num_processes())

    def not_finite(self) -> list[str]:
        """Return the names, as in ``variables``, of the variables that hold NaN or infinity."""
        values = {name: keras.ops.convert_to_numpy(own) for name, own in self.variables().items()}
        return [name for name, array in values.items() if not np.isfinite(array).all()]

    def _statistics(self):
        """Return the moving means and variances of all batch normalization that is not frozen."""
        norms = [norm for norm in self.norms if norm.trainable]
        return [own for norm in norms for own in (norm.moving_mean, norm.moving_variance)]

    def _updates(self):
        """Return the number of updates that each optimizer has applied."""
        return [int(optimizer.iterations) for optimizer in self.optimizers.values()]

    def _compile(self, step_model: StepModel, terms: Sequence[LossTerm], undecayed=()):
        """Compile a step model with its losses and a new optimizer; return the optimizer."""
        optimizer = self._optimizer(step_model, self.total_steps, undecayed)
        step_model.compile(optimizer, terms, jit_compile=USE_XLA)
        return optimizer

    def _optimizer(self, step_model: StepModel, total_steps: int, undecayed=()):
        """Return an optimizer for the variables of a step model."""
        options = self.config.train.precision, undecayed
        return optimizers.make(
            self.config.optimizer, total_steps, step_model.trainable_variables, *options
        )

    def _rpn_data(self, batch: Batch, rng: np.random.Generator) -> tuple[dict, dict]:
        """Return the inputs of a step model with an RPN, and the RPN's targets."""
        count = self.config.rpn.post_nms_train + batch.gt_boxes.shape[1]
        inputs = {
            "images": batch.images,
            "image_sizes": batch.image_sizes,
            "gt_boxes": batch.gt_boxes,
            "gt_labels": batch.gt_labels,
            # Each process draws for the whole batch and takes the rows of its own images, so that any
            # number of processes samples the same RoIs.
            "order": random_order(rng, batch.total, count)[batch.rows],
            "cells": batch.targets.cells,
        }
        targets = batch.targets.y_class, batch.targets.y_regress
        return inputs, dict(zip(self.models.rpn.output_names, targets))


def is_batch_norm(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is batch normalization; its statistics change unless it is frozen."""
    return isinstance(layer, keras.layers.BatchNormalization)


def numbered(group: str, variables: Sequence[keras.Variable]) -> Iterator[tuple[str, keras.Variable]]:
    """Yield (name, variable). Two processes that build the same network get the same names."""
    for number, variable in enumerate(variables):
        # Keras appends a number to the names of optimizers and random generators. The number depends
        # on what the process built before, so it is removed.
        yield f"{group}/{number:04d}/{re.sub(r'_[0-9]+/', '/', variable.path)}", variable


def step_scalars(models: FasterRCNN, logs: dict[str, float]) -> dict[str, float]:
    """Return {TensorBoard tag: value} for the logs of a step.

    Args:
        models: the network.
        logs: logs of ``StepModel.run``, of both sub-models together.
    """
    scalars: dict[str, float] = {}
    for sub_model in ("rpn", "classifier"):
        outputs = getattr(models, sub_model).output_names
        keys = [f"{output}_{what}" for output in outputs for what in ("loss", "accuracy")]
        own = {"loss": logs[f"{sub_model}_loss"]} | {key: logs[key] for key in keys if key in logs}
        scalars |= named_scalars(sub_model, own)
    return with_total_loss(scalars) | proposal_statistics(logs)


def proposal_statistics(sums: dict[str, float]) -> dict[str, float]:
    """Return the scalars that show whether proposals and sampling work.

    A proposal covers a box if their IoU is at least ``roi.positive_iou``.

    Args:
        sums: sums over the batch of the outputs of ``FasterRCNN.proposal_targets`` that have one number
            per image.

    Returns:
        ``rpn/recall``: share of the ground-truth boxes that a proposal covers; missing if the batch has
        no box.
        ``rpn/mean_overlapping_boxes``: proposals per image that cover a box.
        ``classifier/positive_rois``: positive RoIs per image among the sampled RoIs.
    """
    images = max(sums["images"], 1.0)
    scalars = {
        "rpn/mean_overlapping_boxes": sums["overlapping_boxes"] / images,
        "classifier/positive_rois": sums["positive_rois"] / images,
    }
    if sums["gt_count"]:
        scalars["rpn/recall"] = sums["gt_found"] / sums["gt_count"]
    return scalars
