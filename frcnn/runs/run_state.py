"""The run state: counters and means that a checkpoint holds besides weights and optimizer variables."""

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
        data_place: (epoch of the data, batch in it) of the next batch.
        seconds: training time in seconds, over all interruptions.
        waited: seconds of it that steps waited for data.
        means: means of the current epoch's scalars over the applied steps.
        nonfinite_in_a_row: number of latest steps in a row that were skipped as not finite.
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
        """Count a training step that has been handed to the device.

        Args:
            batch: that it learns from.
            waited: seconds that it waited for the batch.
            seconds: these and those until it was handed over.
        """
        self.step += 1
        self.seconds += seconds
        self.waited += waited
        epoch, index = batch.position
        self.data_place = (epoch, index + 1)

    def add_scalars(self, scalars: Mapping[str, float], applied: bool) -> None:
        """Count the scalars of a training step that is done, each step once and in order."""
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
        """Inverse of ``to_json``."""
        return cls(**(dict(values) | {"means": RunningMean(*values["means"])}))
