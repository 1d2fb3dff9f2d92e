"""Logs the training steps, whose scalars stay on the device until they are needed."""

from __future__ import annotations

import collections
import time
from typing import Any

from frcnn.config.schema import TrainConfig
from frcnn.data.loader import Batch
from frcnn.distributed.process_group import ProcessGroup
from frcnn.errors import RunError
from frcnn.runs import run_directory
from frcnn.runs.run_state import RunState
from frcnn.runs.writer import RunWriter
from frcnn.text import echo
from frcnn.training import sanity_checks

MOST_STEPS = 32  # that the host may be ahead of the device: each holds its batch


class StepLog:
    """Steps that have been handed to the device and not yet counted and logged.

    To read a number of the device, the host waits until the step is done, and meanwhile the device gets
    no further step. So ``read`` is called one step after a step that is to be logged, when the next one
    is on the device already; before a checkpoint, at the end of an epoch, and for callbacks. Whenever it
    is called, each step is logged with its own scalars.

    Args:
        config: of the training.
        writer: of the run directory.
        group: processes that train together.
    """

    def __init__(self, config: TrainConfig, writer: RunWriter, group: ProcessGroup):
        self.config, self.writer, self.group = config, writer, group
        self._steps: collections.deque[tuple[int, list[str], Any]] = collections.deque()
        self._most = min(MOST_STEPS, config.max_nonfinite_steps)

    def add(self, step: int, batch: Batch, scalars: Any) -> None:
        """Add a step that the device works on.

        Args:
            step: its number, from 1.
            batch: that it learns from.
            scalars: ``StepScalars`` of the step.
        """
        self._steps.append((step, [sample.name for sample in batch.samples], scalars))

    def is_due(self) -> bool:
        """Tell whether the steps so far are to be read: the last is to be logged, or they are many."""
        return bool(self._steps) and (
            self._is_logged(self._steps[-1][0]) or len(self._steps) >= self._most
        )

    def read(self, state: RunState) -> None:
        """Wait for the steps so far, count them in the run state, and log those that are due or skipped.

        Raises:
            RunError: too many steps in a row were skipped.
        """
        started = time.perf_counter()
        while self._steps:
            self._read_one(state, *self._steps.popleft())
        state.seconds += time.perf_counter() - started

    def _read_one(self, state, step, images, scalars):
        state.add_scalars(scalars, scalars.applied)
        in_a_row = state.nonfinite_in_a_row
        if in_a_row:  # in all processes or none
            images = [name for share in self.group.gather_json(images) for name in share]
        if in_a_row or self._is_logged(step):
            self.writer.write_scalars("train", step, scalars)
        if in_a_row:
            self.writer.record_nonfinite_step(step, images, scalars)
        if in_a_row >= self.config.max_nonfinite_steps:
            raise RunError(
                f"loss or gradient were not finite in {in_a_row} steps in a row, none of which was "
                f"applied: see {self.writer.run_dir / run_directory.NONFINITE}; a lower learning rate "
                "may help"
            )
        if scalars.applied and (text := sanity_checks.watch_loss(state, scalars, step)):
            echo(f"warning: {text}")

    def _is_logged(self, step):
        return step == 1 or step % self.config.log_every == 0
