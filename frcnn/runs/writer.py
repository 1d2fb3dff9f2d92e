"""Writes all files of a run directory. Only the main process (rank 0) writes.

``frcnn.training.trainer`` decides when something is written.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError
from frcnn.logging import RunLogger, trackers
from frcnn.runs import checkpoints, metrics_csv, nonfinite_log, run_directory
from frcnn.runs.run_state import RunState
from frcnn.text import echo
from frcnn.weights import detector_files

# Tags whose means over an epoch are in metrics.csv, for training and for validation.
EPOCH_TAGS = (
    "total_loss",
    "rpn/loss",
    "rpn/loss_cls",
    "rpn/loss_regr",
    "classifier/loss",
    "classifier/loss_cls",
    "classifier/loss_regr",
    "classifier/accuracy",
    "rpn/recall",
    "rpn/mean_overlapping_boxes",
    "classifier/positive_rois",
)
STAGE_TAGS = "classifier/stage"  # how those of a cascade's later stages begin
SCORE_TAGS = ("F1", "F1_threshold", "calibration_error")  # of validation, beside mAP


def main_process_only(method: Callable) -> Callable:
    """Decorate a method of ``RunWriter``: it runs in the main process only.

    Errors of writing become a one-line ``RunError``.
    """

    @functools.wraps(method)
    def on_main_process(self, *arguments):
        if self.group.is_main:
            with run_directory.writing(self.run_dir):
                return method(self, *arguments)

    return on_main_process


class RunWriter:
    """Writes the files that ``frcnn.training.train.train`` lists.

    Each process has a writer and makes the same calls. All methods raise ``RunError`` if the directory
    cannot be written to.

    Args:
        run_dir: the run directory, which exists.
        group: the ``ProcessGroup``.
        models: the network.
        config: the settings of the run.
        classes: names of the object classes.

    Attributes:
        logger: ``RunLogger``; the caller closes it.
    """

    def __init__(
        self, run_dir: pathlib.Path, group: Any, models: Any, config: Config, classes: Sequence[str]
    ):
        self.run_dir = run_dir
        self.group = group
        self.models = models
        self.config = config
        self.classes = classes
        self.logger = RunLogger(run_dir)
        self.texts: dict[str, str] = {}  # {file name: text} of the config files, for checkpoints

    @main_process_only
    def begin(
        self,
        asked: Mapping[str, Any],
        is_changed: bool,
        progress: RunState,
        checkpoint: checkpoints.Checkpoint | None,
        broken: Mapping[pathlib.Path, str],
    ) -> None:
        """Write the config, and cut the logs back to the checkpoint.

        Args:
            asked: {key: value} of the settings that were asked for.
            is_changed: whether the run in the directory had other settings.
            progress: the run state to resume from.
            checkpoint: the checkpoint with that state; None if there is none.
            broken: {path of a damaged checkpoint: its fault}.
        """
        for path, fault in broken.items():
            echo(f"{path} is damaged ({fault}): kept as {checkpoints.set_aside(path).name}")
        # The config is written first: a directory with a config counts as a run directory.
        keep_as = f"until-step-{progress.step}" if is_changed else None
        run_directory.write_config(self.run_dir, asked, self.config, keep_as)
        self.texts = run_directory.config_texts(self.run_dir)
        if checkpoint:
            echo(f"resuming from {checkpoint.path}")
            messages = run_directory.rewind(self.run_dir, progress.step, progress.finished_step)
        else:
            messages = run_directory.set_aside_logs(self.run_dir)
        for line in messages:
            echo(line)
        values = {key: self.config.get(key) for key in KEYS}
        try:
            made = [trackers.make(kind, self.run_dir.name, values) for kind in self.config.log.trackers]
        except ImportError as error:
            raise ConfigError(str(error)) from error
        self.logger.trackers += made

    @main_process_only
    def write_scalars(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        """Log the scalars of a step, {tag: number}, to a ``run`` of ``RunLogger``."""
        self.logger.write(run, step, scalars)

    @main_process_only
    def write_images(self, run: str, step: int, images: Mapping[str, Any]) -> None:
        """Log pictures, {tag: (H, W, 3) uint8 RGB}, to a ``run`` of ``RunLogger``."""
        self.logger.write_images(run, step, images)

    @main_process_only
    def write_summaries(self, run: str, step: int, summaries: Sequence[Any]) -> None:
        """Log summaries of ``frcnn.logging.summaries``, such as curves."""
        self.logger.write_summaries(run, step, summaries)

    @main_process_only
    def record_nonfinite_step(
        self, step: int, images: Sequence[str], scalars: Mapping[str, float]
    ) -> None:
        """Write a skipped step to ``nonfinite.jsonl``, with the names of the images of all processes."""
        nonfinite_log.append(self.run_dir / run_directory.NONFINITE, step, images, scalars)
        echo(f"step {step} skipped, loss or gradient not finite: {', '.join(images)}")

    @main_process_only
    def save_checkpoint(
        self, progress: RunState, variables: Mapping[str, Any], state: Mapping[str, Any]
    ) -> pathlib.Path:
        """Write a checkpoint, and return its path.

        Args:
            progress: the run state.
            variables: {name: Keras variable}.
            state: values that JSON can hold.
        """
        self.logger.flush()  # a resumed run does not log these steps again
        folder, keep = self.run_dir / "checkpoints", self.config.checkpoint.keep
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
        return checkpoints.save(folder, progress.epoch, progress.step, arrays, state, keep, self.texts)

    @main_process_only
    def save_weights(self, name: str) -> None:
        """Write the current weights to ``last.weights.h5`` or ``best.weights.h5``."""
        detector_files.save(self.models, self.config, self.run_dir / f"{name}.weights.h5")

    @main_process_only
    def append_metrics(
        self, progress: RunState, val_means: Mapping[str, float], result: Any | None
    ) -> None:
        """Append the current epoch's row to ``metrics.csv``.

        Args:
            progress: the run state, with the means of training.
            val_means: {tag: mean} of the validation; missing tags stay empty.
            result: ``VocAp`` of the validation; None without one.
        """
        row: dict[str, Any] = {"epoch": progress.epoch + 1, "step": progress.step}
        row["train_seconds"] = round(progress.seconds, 1)
        row["mAP"] = None if result is None else float(result.mean_ap)
        row |= {tag: val_means.get(tag) for tag in SCORE_TAGS}
        for index, name in enumerate(self.classes):
            row[f"AP/{name}"] = None if result is None else float(result.ap[index])
        for run, means in (("train", progress.means), ("validation", val_means)):
            of_stages = sorted(tag for tag in means if tag.startswith(STAGE_TAGS))
            row |= {f"{run}/{tag}": means.get(tag) for tag in (*EPOCH_TAGS, *of_stages)}
        metrics_csv.append_row(self.run_dir / run_directory.METRICS, row)
