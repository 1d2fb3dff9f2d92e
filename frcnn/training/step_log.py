"""Logs the training steps. Their scalars stay on the device until they are needed."""

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

MOST_STEPS = 32  # steps that are not read yet, at most: each keeps its batch in memory


class StepLog:
    """The steps that the device has got and that are not counted and logged yet.

    To read a number from the device, the host waits until the step is done. The device must not be idle
    meanwhile. So a step that is to be logged is read after the next step has been given to the device.
    Steps are also read before a checkpoint, at the end of an epoch, and for callbacks. The time of
    reading does not matter: each step is logged with its own scalars.

    Args:
        config: the section ``train`` of the settings.
        writer: writer of the run directory.
        group: the processes that train together.
    """

    def __init__(self, config: TrainConfig, writer: RunWriter, group: ProcessGroup):
        self.config, self.writer, self.group = config, writer, group
        self._steps: collections.deque[tuple[int, list[str], Any]] = collections.deque()
        self._most = min(MOST_STEPS, config.max_nonfinite_steps)

    def add(self, step: int, batch: Batch, scalars: Any) -> None:
        """Add a step that the device has got.

        Args:
            step: number of the step, from 1.
            batch: batch of the step.
            scalars: ``StepScalars`` of the step.
        """
        self._steps.append((step, [sample.name for sample in batch.samples], scalars))

    def is_due(self) -> bool:
        """Return whether to read the steps: the latest is to be logged, or too many are not read."""
        return bool(self._steps) and (
            self._is_logged(self._steps[-1][0]) or len(self._steps) >= self._most
        )

    def read(self, state: RunState) -> None:
        """Wait for the added steps, count them in the run state, and log those that are due or skipped.

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
        if in_a_row:  # the same in all processes
            images = [name for share in self.group.gather_json(images) for name in share]
        if in_a_row or self._is_logged(step):
            self.writer.write_scalars("train", step, scalars)
        if in_a_row:
            self.writer.record_nonfinite_step(step, images, scalars)
        if in_a_row >= self.config.max_nonfinite_steps:
            raise RunError(
                f"loss or gradient were not finite in {in_a_row} steps in a row, which were skipped: "
                f"see {self.writer.run_dir / run_directory.NONFINITE}; a lower learning rate may help"
            )
        if scalars.applied and (text := sanity_checks.watch_loss(state, scalars, step)):
            echo(f"warning: {text}")

    def _is_logged(self, step):
        return step == 1 or step % self.config.log_every == 0
