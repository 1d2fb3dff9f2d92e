"""The loop: batches, steps, validation, and when a run writes what.

What a step is, a schedule knows (``training.schedule``); what is written how, ``runs.writer``;
``frcnn.training.train`` puts a run together.
"""

import contextlib
import time
import traceback

import keras
import numpy as np
from tqdm import tqdm

from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.cache import ImageCache
from frcnn.data.loader import DataLoader
from frcnn.distributed import process_group
from frcnn.errors import ConfigError, Interrupted, RunError, message_of
from frcnn.runs import checkpoints, run_directory
from frcnn.runs.run_state import RunState
from frcnn.runs.signals import StopSignals
from frcnn.runs.writer import RunWriter
from frcnn.text import echo
from frcnn.training import sanity_checks
from frcnn.training.alternating import Alternating
from frcnn.training.four_step import FourStep
from frcnn.training.joint import Joint
from frcnn.training.validation import best_by, validate

SCHEDULES = {"alternating": Alternating, "joint": Joint, "four-step": FourStep}


class Trainer:
    """Trains ``FasterRCNN`` on one data set and validates on another.

    Args:
        models: ``frcnn.models.faster_rcnn.FasterRCNN``.
        config: the ``Config`` they were built from.
        train_set, val_set: ``frcnn.data.sample.Dataset`` with the same classes.
        run_dir: existing folder, ``pathlib.Path``.

    Several workers (``process_group``) each have a ``Trainer`` that does the same, on its share of every
    batch; the writer of the first one writes.
    """

    def __init__(self, models, config, train_set, val_set, run_dir):
        self.models = models
        self.config = config
        self.classes = train_set.classes
        self.run_dir = run_dir
        self.group = process_group.current()
        self.writer = RunWriter(run_dir, self.group, models, config, self.classes)
        targeter = AnchorTargetCreator(models.anchor_generator, config.rpn)
        common = (config.data, models.size_multiple, config.train.seed)
        self.cache = ImageCache(config.data.cache_mib)  # training comes first, and fills it first
        options = {"make_targets": targeter, "record": self.writer.record_skipped_image}
        options |= {"cache": self.cache, "share": self.group.share}
        self.batches = DataLoader(train_set, *common, training=True, **options)
        self.val_batches = DataLoader(val_set, *common, training=False, **options)
        self.steps_per_epoch = config.train.steps_per_epoch or len(self.batches)
        self.schedule = SCHEDULES[config.train.schedule](
            models, config, self.steps_per_epoch * config.train.epochs
        )
        self.best_by, self.best_why = best_by(config, val_set)
        self.warnings = sanity_checks.warnings_of(
            config,
            models.anchor_generator,
            train_set,
            val_set,
            self.steps_per_epoch * config.train.epochs,
        )
        self.progress = RunState()
        self.saved_at = time.monotonic()  # the last checkpoint
        self.saved_step = None  # its step, None before the first one
        self.callbacks = ()
        self.stopping = False  # a callback has asked to end the run

    def begin(self, before, allow_config_change, asked):
        """Make the run directory ready, and take over the state of the run in it, if there is one.

        Args:
            before: the ``Config`` of that run, None if there is none.
            allow_config_change: whether it may differ from this one.
            asked: {key: value} of what the run was asked to do.

        Raises:
            RunError: the folder cannot be written to, or its checkpoints do not serve.
            ConfigError: the config or the data have changed and must not.
        """
        checkpoint, broken = checkpoints.read_newest(self.run_dir / "checkpoints")
        changes, harmless = run_directory.differences(before or self.config, self.config)
        self.data = [one.dataset.fingerprint() for one in (self.batches, self.val_batches)]
        # Earlier versions wrote less of a fingerprint, its beginning.
        known = checkpoint.state["data"] if checkpoint else self.data
        if not all(map(str.startswith, self.data, known)):
            changes.append(f"images and boxes: {known} -> {self.data}")
        count = self.group.info.world_size
        if checkpoint and (known := checkpoint.state["workers"]) != count:
            changes.append(f"workers, which share a batch: {known} -> {count}")
        if changes and not allow_config_change:
            raise ConfigError(
                f"changed since {self.run_dir} was started (--allow-config-change to go on):\n  "
                + "\n  ".join(changes)
            )
        for change in changes + harmless:
            echo(f"changed: {change}")
        if checkpoint:
            self.progress = RunState.from_json(checkpoint.state["progress"])
            self.schedule.restore(self.progress.step, checkpoint.arrays)
            self.batches.skipped_images, self.val_batches.skipped_images = checkpoint.state["left_out"]
        if count > 1:  # each has read the data, drawn the weights and read the checkpoint itself
            step = str(self.progress.step)
            values = map(keras.ops.convert_to_numpy, self.schedule.variables().values())
            self.group.check_same(
                config=self.config.to_json(), data=self.data, step=step, weights=values
            )
        pipelines = (self.batches, self.val_batches)
        self.writer.begin(asked, bool(changes), self.progress, checkpoint, broken, pipelines)

    def fit(self):
        """Run all epochs that are left and return the last validation's ``VocAp``, None without any.

        Raises:
            Interrupted: by a signal; the checkpoint is written.
            RunError: the run directory took no more, or too many steps in a row were not finite.
        """
        started, result, progress = time.perf_counter(), None, self.progress
        epochs = self.config.train.epochs
        if progress.epoch >= epochs:
            echo(f"{self.run_dir} has been trained to its end: {progress.step} steps")
            self._replace_lost_weights()
            return None
        echo("\n".join([self.best_why, *(f"warning: {text}" for text in self.warnings)]))
        with self.writer.logger, StopSignals() as self.interruption:
            stream = self._stream()
            self._call("on_train_begin")
            while progress.epoch < epochs and not self._is_stopped():
                self._train_epoch(stream)
                if self._is_stopped():
                    break
                self._keep_epoch()
                with self._explained_faults():
                    result = self._end_epoch()
                self._call("on_epoch_end", result)
            self._save_checkpoint()
            self._call("on_train_end")
        seconds, total = progress.seconds, time.perf_counter() - started
        waited = f"{progress.waited / max(seconds, 1e-9):.1%} of it waiting for data"
        seconds = f"{seconds:.0f} s of training, {waited}"
        print(f"{progress.step} steps, {seconds}; {total:.0f} s since this start")
        if self.cache.limit:
            print(self.cache.summary())
        return result

    def stop(self) -> None:
        """End the run after the present step: for callbacks. The run can be resumed."""
        self.stopping = True

    def _is_stopped(self):
        """Return whether a callback of any process has asked to end the run."""
        return bool(self.callbacks) and self.group.any(self.stopping)

    def _call(self, name, *values):
        """Call the method of that name of each callback that has one."""
        for callback in self.callbacks:
            if method := getattr(callback, name, None):
                method(self, *values)

    def _keep_epoch(self):
        """Write a checkpoint and the weights of an epoch that is trained, before anything else can fail.

        A run that goes on from this checkpoint validates the epoch again. The checkpoint comes first:
        weights without any tell ``frcnn.runs.preflight`` of a run that has lost its checkpoints.
        """
        self.schedule.sync_batch_norm()
        # With several workers, ``sync_batch_norm`` has changed what a checkpoint of this step holds.
        if self.saved_step != self.progress.step or self.group.info.world_size > 1:
            self._save_checkpoint()
        self.writer.save_weights("last")

    def _end_epoch(self):
        """Validate if it is time to, write down the epoch, and return the ``VocAp`` or None."""
        number = self.progress.epoch + 1
        val_means, result = {}, None
        if number % self.config.train.validate_every == 0 or number == self.config.train.epochs:
            val_means, result = self._validate()
        self.writer.gather_skipped_images((self.batches, self.val_batches))
        self._write_epoch(val_means, result)
        self.progress.end_epoch()
        return result

    @contextlib.contextmanager
    def _explained_faults(self):
        """Show what is raised in this context without being foreseen, and say what is kept of the run.

        Raises:
            RunError: in the place of such an exception, whose traceback goes to stderr.
        """
        try:
            yield
        except Exception as error:
            if message_of(error) is not None:
                raise
            traceback.print_exc()
            raise RunError(
                f"validation or logging failed after step {self.progress.step} ({type(error).__name__}, "
                f"traceback above). The weights are kept in {self.run_dir / 'last.weights.h5'}; "
                "--resume goes on from the checkpoint of this step and validates again"
            ) from error

    def _stream(self):
        """Yield (batch, seconds waited for it) for ever, epoch after epoch of the data."""
        number, first = self.progress.data_place
        while True:
            batches = self.batches.epoch(number, first)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                yield batch, time.perf_counter() - asked
            number, first = number + 1, 0

    def _train_epoch(self, stream):
        """Train what is left of an epoch."""
        progress, total = self.progress, self.steps_per_epoch
        title = f"epoch {progress.epoch + 1}/{self.config.train.epochs}"
        done = progress.step - progress.finished_step
        shown = {"desc": title, "unit": "step", "mininterval": 1.0, "disable": not self.group.is_main}
        with tqdm(total=total, initial=done, **shown) as bar:
            for _ in range(done, total):
                started = time.perf_counter()
                batch, waited = next(stream)
                scalars = self.schedule.train_step(batch) | {"time/data": waited}
                progress.add(batch, scalars, self.schedule.applied, time.perf_counter() - started)
                self.interruption.can_save = True
                self._log(batch, scalars)
                if self.schedule.applied and (text := sanity_checks.watch_loss(progress, scalars)):
                    echo(f"warning: {text}")
                means = {
                    tag: f"{progress.means.get(tag, float('nan')):.3f}"
                    for tag in ("rpn/loss", "classifier/loss", "total_loss")
                }
                bar.set_postfix(means, refresh=False)
                bar.update()
                self._call("on_step_end", scalars)
                if self._is_stopped():
                    return
                self._save_checkpoint_if_due()
                self._stop_if_asked()

    def _log(self, batch, scalars):
        """Log a step that is due or was not applied; end the run if too many in a row were not."""
        step, in_a_row = self.progress.step, self.progress.nonfinite_in_a_row
        images = [sample.name for sample in batch.samples]
        if in_a_row:  # for all workers or none
            images = [name for share in self.group.gather_json(images) for name in share]
        if in_a_row or step == 1 or step % self.config.train.log_every == 0:
            self.writer.write_scalars("train", step, scalars)
        if in_a_row:
            self.writer.record_nonfinite_step(step, images, scalars)
        if in_a_row >= self.config.train.max_nonfinite_steps:
            raise RunError(
                f"loss or gradient were not finite in {in_a_row} steps in a row, none of which was "
                f"applied: see {self.run_dir / run_directory.NONFINITE}; a lower learning rate may help"
            )

    def _expect_finite(self):
        """Check all that training changes.

        Raises:
            RunError: a number is NaN or infinite; a network with such numbers never recovers.
        """
        names = self.schedule.not_finite()
        if names:
            more = f" and {len(names) - 1} more" if names[1:] else ""
            raise RunError(
                f"after step {self.progress.step} there is NaN or infinity in {names[0]}{more}: neither "
                "checkpoint nor weights are written of it; --resume goes on from the checkpoint before: "
                "with --allow-config-change and a lower --lr"
            )

    def _save_checkpoint_if_due(self):
        due = self.config.checkpoint
        minutes = (time.monotonic() - self.saved_at) / 60.0
        if (due.every_steps and self.progress.step % due.every_steps == 0) or (
            due.every_minutes and minutes >= due.every_minutes
        ):
            self._save_checkpoint()

    def _save_checkpoint(self):
        """Have the first worker write all that ``begin`` takes over, and return the file's path.

        Raises:
            RunError: a number is not finite.
        """
        self._expect_finite()
        skipped_images = [self.batches.skipped_images, self.val_batches.skipped_images]
        state = {"progress": self.progress.to_json(), "left_out": skipped_images, "data": self.data}
        state["workers"] = self.group.info.world_size
        path = self.writer.save_checkpoint(self.progress, self.schedule.variables(), state)
        self.saved_at, self.saved_step = time.monotonic(), self.progress.step
        return path

    def _stop_if_asked(self):
        # Not all workers get a signal, nor between the same steps.
        if self.group.any(self.interruption.signal is not None):
            path = self._save_checkpoint() or "worker 0's checkpoint"
            raise Interrupted(
                f"{self.interruption.signal or 'signal to another worker'}: stopped after step "
                f"{self.progress.step} with {path}; --resume goes on from there"
            )

    def _validate(self):
        """Return the means of the validation scalars and the ``VocAp``, and log both.

        They stand on the training step's axis, in a run of their own. Stopped by a signal, the epoch's
        validation will be done anew.
        """
        schedule, batches = self.schedule, self.val_batches
        means, result = validate(schedule, batches, self.config, self.classes, self._stop_if_asked)
        scalars = {tag: means[tag] for tag in means if not tag.startswith("time/")}
        scalars |= {f"AP/{name}": float(value) for name, value in zip(self.classes, result.ap)}
        scalars["mAP"] = float(result.mean_ap)
        self.writer.write_scalars("validation", self.progress.step, scalars)
        return means, result

    def _replace_lost_weights(self):
        """Write the weight files of a finished run again, where they are missing and can be made."""
        lost = [name for name in ("last", "best") if not (self.run_dir / f"{name}.weights.h5").is_file()]
        for name in lost:
            if name == "last" or self.best_by == "last":
                self.writer.save_weights(name)
                print(f"{name}.weights.h5 was missing: written again from the checkpoint")
            else:
                print("best.weights.h5 is missing; the checkpoint has the last weights, not these")

    def _write_epoch(self, val_means, result):
        """Write the weights once more if they are the best yet, and the epoch's row."""
        # Without a number to compare (no object in the validation split) the last are the best.
        has_number = self.best_by == "mAP" and result is not None and not np.isnan(result.mean_ap)
        score = float(result.mean_ap) if has_number else 0.0
        score = [self.schedule.phase, score]
        # What is validated is what the file holds, unless detections take a second network.
        is_best = self.best_by == "last" or score >= self.progress.best
        if is_best and self.schedule.has_one_network:
            self.progress.best = score
            self.writer.save_weights("best")
        self.writer.append_metrics(self.progress, val_means, result)
