"""Looks for a memory leak in a long run: the real training loop on ``shapes``.

It compares the resident memory at the end with that at step 200. By then everything has been compiled
and allocated once, also for a validation and a checkpoint.
"""

import dataclasses

import numpy as np

from benchmark.protocol import resident_mb

FIRST = 200  # the step that the end is compared with
WINDOW = 20  # steps whose median stands for one: a batch more or less is in memory at any moment
LIMIT = 1.05  # what the end may have of it


@dataclasses.dataclass(frozen=True)
class Growth:
    """Resident memory early and late in a run, MiB, and after each step."""

    first_mb: float
    last_mb: float
    series: tuple[float, ...]

    @property
    def ratio(self):
        return self.last_mb / self.first_mb

    @property
    def leaks(self):
        return self.ratio > LIMIT

    def as_json(self):
        return {
            "first_mb": self.first_mb,
            "last_mb": self.last_mb,
            "ratio": self.ratio,
            "every_100_steps_mb": list(self.series[99::100]),
        }


def growth(series):
    """Return the ``Growth`` of a run from its memory after each step, MiB."""
    first = float(np.median(series[max(FIRST - WINDOW, 0) : FIRST]))
    return Growth(first, float(np.median(series[-WINDOW:])), tuple(series))


class Watched:
    """A schedule that also records the memory of the process after each training step."""

    def __init__(self, schedule, series):
        self.schedule = schedule
        self.series = series

    def __getattr__(self, name):
        return getattr(self.schedule, name)

    def train_step(self, batch):
        scalars = self.schedule.train_step(batch)
        self.series.append(resident_mb())
        return scalars


def config_of(steps, values):
    """Return the ``Config`` of a watched run: the preset of ``shapes``, with smaller images.

    Args:
        steps: number of steps of the run, a multiple of 100. It validates every 100 steps and saves
            every 150, so that both have happened before step 200.
        values: {key: value} of settings to change.
    """
    from frcnn.config.presets import preset

    return preset("shapes").replace(
        {
            "data.short_side": 96,
            "data.long_side": 128,
            "anchors.sizes": (16.0, 32.0, 48.0),
            "train.steps_per_epoch": 100,
            "checkpoint.every_steps": 150,
            "train.epochs": steps // 100,
        }
        | values
    )


def watch(config, run_dir):
    """Train as a config says and return the ``Growth``.

    Args:
        config: ``Config`` on ``shapes``.
        run_dir: a folder that holds no run.
    """
    from frcnn.training import train

    series = []

    def make_trainer(*arguments):
        made = train.Trainer(*arguments)
        made.schedule = Watched(made.schedule, series)
        return made

    train.train(config, run_dir, make_trainer=make_trainer)
    return growth(series)
