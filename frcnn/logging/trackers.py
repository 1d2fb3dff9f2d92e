"""Trackers: they write what ``RunLogger`` logs to a CSV file, MLflow, Weights & Biases or trackio.

A tracker is any object with ``write_scalars``, ``write_images`` and ``close``. The trackers' packages
are
optional: each is imported when its tracker is made.
"""

from __future__ import annotations

import csv
import importlib
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

PROJECT = "frcnn"


class Tracker(Protocol):
    """What ``RunLogger`` calls. ``run`` is ``"train"`` or ``"validation"``."""

    def write_scalars(self, run: str, step: int, scalars: Mapping[str, float]) -> None: ...

    def write_images(self, run: str, step: int, images: Mapping[str, np.ndarray]) -> None: ...

    def close(self) -> None: ...


class CsvTracker:
    """Appends a row (run, step, tag, value) for each scalar to a CSV file. It writes no pictures.

    Args:
        path: the file; its folder must exist. A new file gets a header.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: pathlib.Path | str):
        self._file = open(path, "a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file, lineterminator="\n")
        if not self._file.tell():
            self._rows.writerow(["run", "step", "tag", "value"])

    def write_scalars(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        self._rows.writerows([run, step, tag, repr(value)] for tag, value in scalars.items())
        self._file.flush()

    def write_images(self, run: str, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Do nothing."""

    def close(self) -> None:
        self._file.close()


class WandbTracker:
    """Logs to Weights & Biases, or to trackio, which has the same functions.

    A resumed training becomes a new run there.

    Args:
        name: name of the run.
        config: {setting: value}.
        package: ``"wandb"`` or ``"trackio"``.
    """

    def __init__(self, name: str, config: Mapping[str, Any], package: str = "wandb"):
        self._package = importlib.import_module(package)
        self._package.init(project=PROJECT, name=name, config=dict(config))
        self._is_wandb = package == "wandb"
        if self._is_wandb:
            self._package.define_metric("*", step_metric="step")

    def write_scalars(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        self._log({f"{run}/{tag}": value for tag, value in scalars.items()}, step)

    def write_images(self, run: str, step: int, images: Mapping[str, np.ndarray]) -> None:
        drawn = {f"{run}/{tag}": self._package.Image(pixels) for tag, pixels in images.items()}
        self._log(drawn, step)

    def _log(self, values, step):
        # The step is logged as a value: wandb drops values whose step is below the newest one.
        if self._is_wandb:
            self._package.log({**values, "step": step})
        else:
            self._package.log(values, step=step)

    def close(self) -> None:
        self._package.finish()


class MlflowTracker:
    """Logs to MLflow, on the server or in the folder that MLflow's own settings name.

    A resumed training becomes a new run there.

    Args:
        name: name of the run.
        config: {setting: value}.
    """

    def __init__(self, name: str, config: Mapping[str, Any]):
        self._mlflow = importlib.import_module("mlflow")
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params({key: str(value)[:500] for key, value in config.items()})

    def write_scalars(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        finite = {tag: value for tag, value in scalars.items() if math.isfinite(value)}
        self._mlflow.log_metrics({_plain(f"{run}/{tag}"): finite[tag] for tag in finite}, step=step)

    def write_images(self, run: str, step: int, images: Mapping[str, np.ndarray]) -> None:
        for tag, pixels in images.items():
            self._mlflow.log_image(pixels, f"{_plain(f'{run}/{tag}')}/step-{step:08d}.png")

    def close(self) -> None:
        self._mlflow.end_run()


def make(kind: str, name: str, config: Mapping[str, Any]) -> Tracker:
    """Return a tracker: ``"mlflow"``, ``"trackio"`` or ``"wandb"``.

    Args:
        kind: name of the tracker and of its package.
        name: name of the run.
        config: {setting: value}.

    Raises:
        ImportError: the package is not installed; the message says so in one line.
        ValueError: another kind.
    """
    if kind not in ("mlflow", "trackio", "wandb"):
        raise ValueError(f"there is no tracker {kind!r}, only mlflow, trackio and wandb")
    try:
        if kind == "mlflow":
            return MlflowTracker(name, config)
        return WandbTracker(name, config, kind)
    except ImportError as error:
        raise ImportError(
            f"the tracker {kind} needs its package: `pip install {kind}` ({error})"
        ) from error


def _plain(name: str) -> str:
    """Return a name without the characters that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)
