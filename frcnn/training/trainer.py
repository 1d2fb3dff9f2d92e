"""The training loop: epochs, steps, validation and saving."""

from __future__ import annotations

import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from frcnn.backend import num_devices
from frcnn.config.schema import Config
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.cache import ImageCache
from frcnn.data.loader import Batch, DataLoader
from frcnn.data.sample import Dataset
from frcnn.distributed import process_group
from frcnn.errors import Interrupted
from frcnn.evaluation.voc_ap import VocAp
from frcnn.logging.profiling import StepProfiler
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.runs import run_directory
from frcnn.runs.run_state import RunState
from frcnn.runs.signals import StopSignals
from frcnn.runs.skipped_images import SkippedImages
from frcnn.runs.writer import RunWriter
from frcnn.text import echo
from frcnn.training import early_stopping, learning_rate, sanity_checks, unexpected_errors
from frcnn.training.alternating import Alternating
from frcnn.training.best_weights import BestWeights
from frcnn.training.checkpointer import Checkpointer
from frcnn.training.curve_warnings import CurveWarnings
from frcnn.training.four_step import FourStep
from frcnn.training.joint import Joint
from frcnn.training.progress_bar import ProgressBar, best_epoch, time_spent
from frcnn.training.schedule import Schedule
from frcnn.training.step_arrays import ToDevice
from frcnn.training.step_log import StepLog
from frcnn.training.validation import validate
from frcnn.training.visual_log import VisualLog

SCHEDULES: dict[str, Callable[[FasterRCNN, Config, int], Schedule]] = {
    "alternating": Alternating,
    "joint": Joint,
    "four-step": FourStep,
}


class Trainer:
    """Trains a network on one data set and validates it on another.

    If several processes train together, each has its own ``Trainer`` for its share of every batch. Only
    the main process writes files.

    Args:
        models: the network to train.
        config: the settings from which the network was built.
        train_set: data set to train on.
        val_set: data set to validate on; it has the same classes.
        run_dir: the run directory, which exists.

    Attributes:
        progress: ``RunState``: steps and epochs so far.
        callbacks: objects with any of the methods ``on_train_begin(trainer)``, ``on_step_end(trainer,
            scalars)``, ``on_epoch_end(trainer, result)`` and ``on_train_end(trainer)``. ``scalars`` are
            {TensorBoard tag: value}; ``result`` is a ``VocAp``, or None without a validation.
    """

    def __init__(
        self,
        models: FasterRCNN,
        config: Config,
        train_set: Dataset,
        val_set: Dataset,
        run_dir: pathlib.Path,
    ):
        self.models, self.config, self.run_dir = models, config, run_dir
        self.classes = train_set.classes
        self.group = process_group.current()
        self.writer = RunWriter(run_dir, self.group, models, config, self.classes)
        self.skipped = SkippedImages(run_dir, self.group)
        self.cache = ImageCache(config.data.cache_mib)
        loader = functools.partial(
            DataLoader,
            config=config.data,
            multiple=models.size_multiple,
            seed=config.train.seed,
            make_targets=AnchorTargetCreator(models.anchor_generator, config.rpn, models.kind),
            to_device=ToDevice(),
            on_skip=self.skipped.add,
            cache=self.cache,
            share=self.group.share,
            devices=num_devices(),
            box_kind=config.box.kind,
        )
        self.batches = loader(train_set, training=True, augment=config.augment)
        self.val_batches = loader(val_set, training=False)
        self.steps_per_epoch = config.train.steps_per_epoch or len(self.batches)
        total_steps = self.steps_per_epoch * config.train.epochs
        self.schedule = SCHEDULES[config.train.schedule](models, config, total_steps)
        self.checkpointer = Checkpointer(
            config, self.schedule, (train_set, val_set), self.writer, self.skipped, self.group
        )
        self.step_log = StepLog(config.train, self.writer, self.group)
        self.best_weights = BestWeights(config, val_set)
        share_of_val = len(val_set) // self.val_batches.shares
        self.visual_log = VisualLog(
            config, models, self.classes, self.writer, share_of_val, self.group.is_main
        )
        self.warnings = sanity_checks.warnings_of(
            config, models.anchor_generator, train_set, val_set, total_steps
        )
        self.curve_warnings = CurveWarnings(self.classes, config.train.epochs)
        profiled = config.log.profile_steps if self.group.is_main else 0
        self.profiler = StepProfiler(self.writer.logger, profiled)
        self.mean_ap = float("nan")  # mAP of the last validation
        self.callbacks: tuple[Any, ...] = ()
        self.stopping = False

    @property
    def progress(self) -> RunState:
        """Steps and epochs so far."""
        return self.checkpointer.state

    def begin(self, before: Config | None, allow_config_change: bool, asked: dict[str, Any]) -> None:
        """Prepare the run directory, and restore the run in it, if any; see ``Checkpointer.begin``."""
        self.checkpointer.begin(before, allow_config_change, asked)

    def fit(self) -> VocAp | None:
        """Train the remaining epochs.

        Returns:
            The AP of the last validation; None if there was none.

        Raises:
            Interrupted: a signal stopped the run; its checkpoint has been written.
            RunError: the run directory cannot be written to, or too many steps in a row were skipped.
        """
        started, result, progress = time.perf_counter(), None, self.progress
        if progress.epoch >= self.config.train.epochs or self._has_stopped_early():
            echo(f"the run in {self.run_dir} is finished: {progress.step} steps")
            self.best_weights.replace_lost(self.writer, self.schedule)
            return None
        echo("\n".join([self.best_weights.why, *(f"warning: {text}" for text in self.warnings)]))
        with self.writer.logger, StopSignals() as self.signals:
            stream = self.batches.stream(*progress.data_place)
            self.visual_log.begin_run(progress.step)
            self._call("on_train_begin")
            while progress.epoch < self.config.train.epochs and not self._is_stopped():
                self._train_epoch(stream)
                if self._is_stopped():
                    break
                self._save_epoch()
                with unexpected_errors.explained(self.run_dir, self.progress):
                    of_epoch = self._end_epoch()
                if of_epoch is not None:
                    result = of_epoch
                self._call("on_epoch_end", of_epoch)
                if self._has_stopped_early():
                    break
            self.profiler.stop(progress.step)
            self._save()
            self._call("on_train_end")
        if self.group.is_main and (line := best_epoch(self.run_dir / run_directory.METRICS)):
            print(line)
        print(time_spent(progress, time.perf_counter() - started))
        if self.cache.limit:
            print(self.cache.summary())
        return result

    def _train_epoch(self, stream: Iterator[Batch]):
        """Train the remaining steps of the epoch."""
        progress, total = self.progress, self.steps_per_epoch
        images = learning_rate.images_per_step(self.config)
        about = progress, total, self.config.train.epochs, images, self.mean_ap, self.group.is_main
        with ProgressBar(*about) as bar:
            for _ in range(progress.step - progress.finished_step, total):
                self._train_step(stream)
                bar.step(progress)
                if self._is_stopped():
                    return
                if self.checkpointer.is_due():
                    self._save()
                self._stop_if_signalled()
            self.step_log.read(self.progress)

    def _train_step(self, stream):
        """Give the next batch to the device.

        While the device works on it, earlier steps that are to be logged are read.
        """
        started = time.perf_counter()
        self.profiler.before_step(self.progress.step)
        batch = next(stream)
        waited = time.perf_counter() - started
        scalars = self.schedule.train_step(batch)
        self.progress.add(batch, waited, time.perf_counter() - started)
        if self.step_log.is_due():
            self.step_log.read(self.progress)
        step, number = self.progress.step, self.progress.epoch + 1
        scalars.of_host["time/data"] = waited
        self.step_log.add(step, batch, scalars)
        self.signals.can_save = True
        has_callback = any(hasattr(callback, "on_step_end") for callback in self.callbacks)
        # The processes exchange the names of the images of skipped steps when they read. So all
        # processes must read at the same steps.
        if has_callback or self.group.info.world_size > 1:
            self.step_log.read(self.progress)
        if has_callback:
            self._call("on_step_end", dict(scalars))
        if step - self.progress.finished_step == self.steps_per_epoch and self._validates_after(number):
            self.visual_log.draw_training(batch, self.schedule.outputs, number, step)

    def _save(self):
        """Save a checkpoint of all steps so far, and return its path; see ``Checkpointer.save``."""
        self.step_log.read(self.progress)
        return self.checkpointer.save()

    def _save_epoch(self):
        """Save a checkpoint and the weights after the training of an epoch, before its validation.

        A run that resumes from this checkpoint validates the epoch again. The checkpoint is written
        before the weights, because ``frcnn.runs.preflight`` reports a run with weights and without a
        checkpoint as damaged.
        """
        self.schedule.sync_batch_norm()
        # With several processes, ``sync_batch_norm`` has changed the statistics since the last
        # checkpoint.
        if self.checkpointer.saved_step != self.progress.step or self.group.info.world_size > 1:
            self._save()
        self.writer.save_weights("last")

    def _end_epoch(self):
        """Validate if it is due, and log the epoch. Return the AP; None without a validation."""
        number = self.progress.epoch + 1
        val_means, result = {}, None
        if self._validates_after(number):
            val_means, result = self._validate()
        self.skipped.gather()
        self._write_epoch(val_means, result)
        self.progress.end_epoch()
        return result

    def _validates_after(self, number):
        """Return whether there is a validation after epoch ``number``, from 1."""
        train = self.config.train
        return number % train.validate_every == 0 or number == train.epochs

    def _validate(self):
        """Validate, and log the scores. Return the means of the scalars, and the AP.

        If a signal stops the validation, the resumed run validates again.
        """
        self.visual_log.begin(self.progress.epoch + 1, self.progress.step)
        means, result = validate(
            self.schedule,
            self.val_batches,
            self.config,
            self.classes,
            self._stop_if_signalled,
            self.visual_log,
        )
        scalars = {f"AP/{name}": float(value) for name, value in zip(self.classes, result.ap)}
        self.mean_ap = float(result.mean_ap)
        scalars = means | scalars | {"mAP": self.mean_ap}
        self.writer.write_scalars("validation", self.progress.step, scalars)
        return means, result

    def _write_epoch(self, val_means, result):
        self.best_weights.save_if_best(self.writer, self.progress, self.schedule, result)
        self.writer.append_metrics(self.progress, val_means, result)
        about = self.progress.epoch + 1, self.schedule.phase, self.progress.means, val_means, result
        for text in self.curve_warnings.after_epoch(*about, self._is_over()):
            echo(f"warning: {text}")

    def stop(self) -> None:
        """End the run after the current step. Callbacks may call it. The run can be resumed."""
        self.stopping = True

    def _is_stopped(self):
        """Return whether a callback of any process has called ``stop``."""
        return bool(self.callbacks) and self.group.any(self.stopping)

    def _has_stopped_early(self):
        """Return whether mAP has not risen for ``train.patience`` validations, and print it if so."""
        patience = self.config.train.patience
        if not patience or not self.group.any(self._is_over()):
            return False
        echo(f"mAP has not risen for {patience} validations (train.patience)")
        return True

    def _is_over(self):
        # The main process alone writes the table.
        metrics = self.run_dir / run_directory.METRICS
        return self.group.is_main and early_stopping.is_over(metrics, self.config.train.patience)

    def _call(self, name, *values):
        """Call the method of that name of each callback that has one."""
        for callback in self.callbacks:
            if method := getattr(callback, name, None):
                method(self, *values)

    def _stop_if_signalled(self):
        # A signal may reach only some of the processes, and at different steps.
        if self.group.any(self.signals.signal is not None):
            path = self._save() or "the checkpoint of the main process"
            raise Interrupted(
                f"{self.signals.signal or 'signal to another process'}: stopped after step "
                f"{self.progress.step} with {path}; --resume goes on from there"
            )
