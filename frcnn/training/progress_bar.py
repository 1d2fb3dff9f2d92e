"""The progress bar of an epoch, and the line about the best epoch at the end of a run."""

from __future__ import annotations

import csv
import math
import pathlib
import sys
import time
from typing import Any

from tqdm import tqdm

from frcnn.logging.profiling import peak_device_memory
from frcnn.runs.run_state import RunState
from frcnn.text import bar_options

LOSSES = {"rpn/loss": "rpn", "classifier/loss": "cls", "total_loss": "loss"}
GIB = 2**30


class ProgressBar:
    """A bar over the steps of an epoch: mean losses, last mAP, images per second, memory, time left.

    Args:
        state: the run state.
        steps: number of steps per epoch.
        epochs: number of epochs of the run.
        images_per_step: images per step, of all processes.
        mean_ap: mAP of the last validation; NaN: none yet.
        is_shown: whether to show the bar; only the main process does.

    Example:
        >>> with ProgressBar(state, 100, 16, 2, mean_ap=0.5, is_shown=True) as bar:
        ...     bar.step(state)
    """

    def __init__(
        self,
        state: RunState,
        steps: int,
        epochs: int,
        images_per_step: int,
        mean_ap: float,
        is_shown: bool,
    ):
        self._total_steps, self._images = steps * epochs, images_per_step
        self._mean_ap = mean_ap
        self._first, self._started, self._is_timed = state.step, time.perf_counter(), False
        done = state.step - state.finished_step
        shown: dict[str, Any] = {"unit": "step", "disable": not is_shown} | bar_options()
        title = f"epoch {state.epoch + 1}/{epochs}"
        self._bar = tqdm(total=steps, initial=done, desc=title, dynamic_ncols=True, **shown)

    def step(self, state: RunState) -> None:
        """Show the run state after a step."""
        self._bar.set_postfix_str(self.text(state), refresh=False)
        self._bar.update()
        if not self._is_timed:  # from the second step on: the first of a start compiles
            self._first, self._started, self._is_timed = state.step, time.perf_counter(), True

    def text(self, state: RunState) -> str:
        """Return the text after the bar."""
        # The first steps of an epoch are on the device still: no loss has been read.
        parts = [f"{name} {state.means[tag]:.3f}" for tag, name in LOSSES.items() if tag in state.means]
        if not math.isnan(self._mean_ap):
            parts.append(f"mAP {self._mean_ap:.3f}")
        if not self._is_timed:
            return ", ".join(filter(None, [*parts, memory()]))
        rate = (state.step - self._first) / max(time.perf_counter() - self._started, 1e-9)
        left = (self._total_steps - state.step) / max(rate, 1e-9)
        parts += [f"{rate * self._images:.1f} images/s", memory(), f"run {duration(left)} left"]
        return ", ".join(filter(None, parts))

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.close()


def duration(seconds: float) -> str:
    """Return a time as text, such as 59 s, 3 min or 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def memory() -> str:
    """Return the peak memory as text: of the GPU, without a GPU of the process; "" if not known."""
    device = peak_device_memory()
    if device:
        return f"GPU {device / GIB:.1f} GiB"
    try:
        import resource
    except ImportError:  # Windows
        return ""
    # ru_maxrss is in KiB; on macOS it is in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB:.1f} GiB"


def time_spent(state: RunState, seconds: float) -> str:
    """Return a line about how long a run has taken.

    Args:
        state: of the run.
        seconds: since this start, validation included.
    """
    waited = f"{state.waited / max(state.seconds, 1e-9):.1%} of it waiting for data"
    trained = f"{state.seconds:.0f} s of training, {waited}"
    return f"{state.step} steps, {trained}; {seconds:.0f} s since this start"


def best_epoch(metrics: pathlib.Path) -> str | None:
    """Return a line about the best and the last validation in ``metrics.csv``; None without any.

    Args:
        metrics: the file; it may be missing.
    """
    try:
        with metrics.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("mAP") not in (None, "", "nan")]
    except OSError:
        return None
    if not rows:
        return None
    best = max(rows, key=lambda row: float(row["mAP"]))
    line = f"best mAP: {float(best['mAP']):.4f} after epoch {best['epoch']}"
    last = rows[-1]
    if last is not best:
        line += f"; the last: {float(last['mAP']):.4f} after epoch {last['epoch']}"
    return line
