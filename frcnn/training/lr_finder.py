"""The learning rate finder: a short training whose rate rises, and the loss at each rate.

Smith 2017, "Cyclical learning rates for training neural networks", section 3.3. At low rates the loss
stays, then it falls, and at high rates it rises. A good rate is where it falls most steeply.
"""

from __future__ import annotations

import csv
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from PIL import Image

from frcnn.config.schema import Config
from frcnn.errors import ConfigError, RunError
from frcnn.files import outputs
from frcnn.inspection import curve_charts
from frcnn.text import echo
from frcnn.training import learning_rate
from frcnn.training.trainer import Trainer

Tensor = Any
STEPS = 100
LOWEST, HIGHEST = 1e-6, 1.0  # per step with all its images
DIVERGED = 4.0  # times the lowest loss
SMOOTHING = 0.9  # of the running mean of the loss
CHART, TABLE = "learning_rates.png", "learning_rates.csv"


@keras.saving.register_keras_serializable(package="frcnn")
class RisingLR(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises by the same factor in each step.

    Args:
        lowest, highest: rates of the first and the last step.
        steps: number of steps.
    """

    def __init__(self, lowest: float, highest: float, steps: int):
        self.lowest, self.highest, self.steps = lowest, highest, steps

    def __call__(self, step: Tensor) -> Tensor:
        share = ops.cast(step, "float32") / max(self.steps - 1, 1)
        return self.lowest * ops.exp(share * math.log(self.highest / self.lowest))

    def get_config(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "highest": self.highest, "steps": self.steps}


class LearningRateFinder(Trainer):
    """Trains some steps with a rising rate, in the place of a run. No weights are saved.

    Example:
        >>> train(config, "runs/find", make_trainer=LearningRateFinder)
    """

    def begin(self, before: Config | None, allow_config_change: bool, asked: dict[str, Any]) -> None:
        """Check that a rate can be found, before anything is trained.

        Raises:
            ConfigError: several processes, or the schedule ``four-step``.
            OutputError: the files exist already.
        """
        if self.group.info.world_size > 1:
            raise ConfigError("--find-lr goes with one process")
        if self.config.train.schedule == "four-step":
            raise ConfigError("--find-lr goes with the schedules alternating and joint")
        self.chart, self.table = (outputs.new_file(self.run_dir / name) for name in (CHART, TABLE))
        self.schedule.frozen = []  # a rate to begin with: model.unfreeze_at is later
        for optimizer in self.schedule.optimizers.values():
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            optimizer.learning_rate = RisingLR(LOWEST, HIGHEST, STEPS)

    def fit(self) -> None:
        """Train until the loss rises far, print the rate to take, and write the chart and a table.

        Raises:
            RunError: the loss does not fall at any rate.
        """
        rates, losses = self._rates_and_losses()
        mean = smoothed(losses)
        best = steepest(rates, mean)
        _write(self.table, rates, losses, mean)
        pixels = curve_charts.learning_rate_chart(rates, losses, mean, best)
        with outputs.writing(self.chart):
            Image.fromarray(pixels).save(self.chart)
        if best is None:
            raise RunError(
                f"the loss does not fall at any learning rate up to {rates[-1]:.1e}: see "
                f"{self.chart}; check the labels with frcnn inspect"
            )
        scale = learning_rate.scale_of(self.config)
        echo(
            f"learning rate {best / scale:.1e}: there the loss falls most steeply. Train with --lr "
            f"{best / scale:.1e}; {self.chart} shows the loss at each rate"
        )

    def _rates_and_losses(self):
        """Return the rate and the loss of each step until the loss has diverged, as arrays."""
        rates, losses = [], []
        for step, batch in zip(range(STEPS), self.batches.stream()):
            scalars = dict(self.schedule.train_step(batch))
            loss = scalars["total_loss"]
            if not math.isfinite(loss):
                break
            rates.append(scalars["learning_rate/rpn"])  # the classifier has the same
            losses.append(loss)
            mean = smoothed(losses)
            if step > STEPS // 10 and mean[-1] > DIVERGED * mean.min():
                break
        if len(losses) < 10:
            raise RunError(f"the loss is not finite after {len(losses)} steps, at the lowest rates")
        return np.array(rates), np.array(losses)


def smoothed(losses: Sequence[float]) -> np.ndarray:
    """Return the running mean of the losses, without the pull of its start to 0."""
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        found.append(mean / (1.0 - SMOOTHING**number))
    return np.array(found)


def steepest(rates: np.ndarray, mean: np.ndarray) -> float | None:
    """Return the rate at which a smoothed loss falls most per factor of the rate; None: it never falls.

    Args:
        rates: (N,) rising.
        mean: (N,) smoothed losses.
    """
    first = len(mean) // 10  # the running mean is of few steps there
    last = max(int(mean.argmin()) + 1, first + 2)
    slope = np.gradient(mean, np.log(rates))[first:last]
    lowest = int(slope.argmin())
    return float(rates[first + lowest]) if slope[lowest] < 0 else None


def _write(path: pathlib.Path, rates, losses, mean):
    with outputs.writing(path), path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["learning_rate", "loss", "smoothed_loss"])
        rows.writerows(zip(rates.tolist(), losses.tolist(), mean.tolist()))
