"""Saves the checkpoints of a run, and restores the run from the newest one."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import keras

from frcnn.config.schema import Config
from frcnn.data.sample import Dataset
from frcnn.distributed.process_group import ProcessGroup
from frcnn.errors import ConfigError, RunError
from frcnn.runs import checkpoints, made_splits, run_directory
from frcnn.runs.run_state import RunState
from frcnn.runs.skipped_images import SkippedImages
from frcnn.runs.writer import RunWriter
from frcnn.text import echo
from frcnn.training.schedule import Schedule


class Checkpointer:
    """Saves and restores weights, optimizers, run state and skipped images.

    All processes make the same calls. Only the main process writes.

    Args:
        config: the settings of the run.
        schedule: the schedule, with weights and optimizers.
        datasets: training set and validation set.
        writer: writer of the run directory.
        skipped: the images that the run skips.
        group: the processes that train together.

    Attributes:
        state: the run state.
        saved_step: step of the last checkpoint; None before the first.
    """

    def __init__(
        self,
        config: Config,
        schedule: Schedule,
        datasets: tuple[Dataset, Dataset],
        writer: RunWriter,
        skipped: SkippedImages,
        group: ProcessGroup,
    ):
        self.config, self.schedule, self.datasets = config, schedule, datasets
        self.writer, self.skipped, self.group = writer, skipped, group
        self.state = RunState()
        self.saved_at = time.monotonic()
        self.saved_step: int | None = None

    def begin(self, before: Config | None, allow_change: bool, asked: dict[str, Any]) -> None:
        """Prepare the run directory, and restore the run in it, if there is one.

        Args:
            before: settings of that run; None if there is none.
            allow_change: whether settings, data and number of processes may differ from that run's.
            asked: {key: value} of the settings that were asked for.

        Raises:
            RunError: the directory cannot be written to, or its checkpoints do not fit.
            ConfigError: settings, data or number of processes have changed, and ``allow_change`` is
                False.
        """
        run_dir = self.writer.run_dir
        checkpoint, broken = checkpoints.read_newest(run_dir / "checkpoints")
        self.fingerprints = [dataset.fingerprint() for dataset in self.datasets]
        changes, harmless = run_directory.differences(before or self.config, self.config)
        if checkpoint:
            changes += self._changes_since(checkpoint)
        if changes and not allow_change:
            raise ConfigError(
                f"changed since {run_dir} was started (--allow-config-change to go on):\n  "
                + "\n  ".join(changes)
            )
        for change in changes + harmless:
            echo(f"changed: {change}")
        if checkpoint:
            self.state = RunState.from_json(checkpoint.state["progress"])
            self.schedule.restore(self.state.step, checkpoint.arrays)
        self._check_same_in_all_processes()
        self.writer.begin(asked, bool(changes), self.state, checkpoint, broken)
        self.skipped.begin(self.datasets, checkpoint.state.get("skipped", ()) if checkpoint else ())
        if self.group.is_main:
            made_splits.write(run_dir, self.datasets)

    def _changes_since(self, checkpoint):
        """Return a line for each of data and number of processes that has changed."""
        changes, known = [], checkpoint.state["data"]
        # Earlier versions wrote only the beginning of a fingerprint.
        if not all(map(str.startswith, self.fingerprints, known)):
            changes.append(f"images and boxes: {known} -> {self.fingerprints}")
        count = self.group.info.world_size
        if (known := checkpoint.state["workers"]) != count:
            changes.append(f"number of processes: {known} -> {count}")
        return changes

    def _check_same_in_all_processes(self):
        """Check that all processes have the same settings, data, step and weights."""
        if self.group.info.world_size > 1:
            self.group.check_same(
                config=self.config.to_json(),
                data=self.fingerprints,
                step=str(self.state.step),
                weights=map(keras.ops.convert_to_numpy, self.schedule.variables().values()),
            )

    def is_due(self) -> bool:
        """Return whether the settings ``checkpoint`` ask for a checkpoint after this step."""
        due = self.config.checkpoint
        minutes = (time.monotonic() - self.saved_at) / 60.0
        return bool(due.every_steps and self.state.step % due.every_steps == 0) or bool(
            due.every_minutes and minutes >= due.every_minutes
        )

    def save(self) -> pathlib.Path | None:
        """Save a checkpoint, and return its path; None in all processes except the main one.

        Raises:
            RunError: a weight or an optimizer's variable is not finite.
        """
        self._check_finite()
        state = {
            "progress": self.state.to_json(),
            "skipped": self.skipped.rows(),
            "data": self.fingerprints,
            "workers": self.group.info.world_size,
        }
        with self.schedule.trained_weights():  # a signal may come during a validation
            path = self.writer.save_checkpoint(self.state, self.schedule.variables(), state)
        self.saved_at, self.saved_step = time.monotonic(), self.state.step
        return path

    def _check_finite(self):
        names = self.schedule.not_finite()
        if names:  # the network cannot recover from this
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise RunError(
                f"after step {self.state.step} there is NaN or infinity in {names[0]}{more}: no "
                "checkpoint and no weights are written; resume from the last checkpoint with --resume, "
                "--allow-config-change and a lower --lr"
            )
