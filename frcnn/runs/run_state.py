"""The run state: the counters and means in a checkpoint, besides weights and optimizer variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from frcnn.logging.running_mean import RunningMean


@dataclasses.dataclass
class RunState:
    """Counters, and means of the current epoch. Checkpoints store it under these names.

    Attributes:
        step: number of finished training steps.
        epoch: number of finished epochs, validation included.
        finished_step: step at which the last finished epoch ended.
        data_place: (epoch of the data, batch in that epoch) of the next batch.
        seconds: training time of all starts of the run, seconds.
        waited: the part of it in which steps waited for data, seconds.
        means: means of the current epoch's scalars over the applied steps.
        nonfinite_in_a_row: number of steps that were skipped in a row up to now, because the loss or the
            gradient was not finite.
        best: [phase, mAP] of the best weights.
        loss: state of ``sanity_checks.watch_loss``.
    """

    step: int = 0
    epoch: int = 0
    finished_step: int = 0
    data_place: tuple = (0, 0)
    seconds: float = 0.0
    waited: float = 0.0
    means: RunningMean = dataclasses.field(default_factory=RunningMean)
    nonfinite_in_a_row: int = 0
    best: list = dataclasses.field(default_factory=lambda: [0, 0.0])
    loss: list = dataclasses.field(default_factory=lambda: [0, 0.0, 0.0, False])

    def add(self, batch: Any, waited: float, seconds: float) -> None:
        """Count a training step that the device has got.

        Args:
            batch: batch of the step.
            waited: time that the step waited for the batch, seconds.
            seconds: time until the device had got the step, ``waited`` included, seconds.
        """
        self.step += 1
        self.seconds += seconds
        self.waited += waited
        epoch, index = batch.position
        self.data_place = (epoch, index + 1)

    def add_scalars(self, scalars: Mapping[str, float], applied: bool) -> None:
        """Add the scalars of a finished training step. Call it once per step, in order.

        Args:
            scalars: {TensorBoard tag: value}.
            applied: whether the step was applied; if not, the scalars do not count.
        """
        self.nonfinite_in_a_row = 0 if applied else self.nonfinite_in_a_row + 1
        if applied:
            self.means.add(scalars)

    def end_epoch(self) -> None:
        """Count an epoch that has been trained, validated and logged."""
        self.epoch += 1
        self.finished_step = self.step
        self.means = RunningMean()

    def to_json(self) -> dict[str, Any]:
        """Return the state as values that JSON can hold without loss."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return values | {"means": [dict(self.means), self.means.weights]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunState:
        """Return the state from values of ``to_json``."""
        return cls(**(dict(values) | {"means": RunningMean(*values["means"])}))
