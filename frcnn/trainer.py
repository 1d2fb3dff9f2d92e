"""The loop: data, steps, validation, checkpoints, logs.

``train`` puts a run together from a config; ``Trainer`` runs it. What a step is, a schedule knows
(``frcnn.schedules``).
"""

import itertools
import pathlib
import time

import keras
import numpy as np
from tqdm import tqdm

from frcnn import backend, checkpoints, evaluation, metrics_csv, models, weights, workers
from frcnn.data import datasets, faults
from frcnn.data.pipeline import Pipeline
from frcnn.detector import Detector
from frcnn.errors import ConfigError, DataError
from frcnn.four_step import FourStep
from frcnn.logging import RunLogger
from frcnn.metrics.voc_ap import format_table, voc_ap
from frcnn.schedules import Alternating, Joint
from frcnn.targets import RpnTargeter

SCHEDULES = {"alternating": Alternating, "joint": Joint, "four-step": FourStep}

PHASE_FILES = "phase-N.weights.h5, which a four-step run writes at the end of each phase"

# What metrics.csv holds of each epoch, as means over its steps, for training and for validation.
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


def train(config, run_dir, resume=False):
    """Train as a config says and return the validation ``VocAp`` of the last epoch.

    Writes to ``run_dir``: ``config.json``, ``train/`` and ``validation/`` (TensorBoard),
    ``metrics.csv``, ``last.weights.h5``, ``best.weights.h5`` (best validation mAP, of the schedule's
    last phase), what a schedule keeps besides and, where images were left out, ``skipped.csv``.

    Args:
        config: ``frcnn.config.Config``.
        run_dir: a folder that holds no run yet; made if missing.
        resume: ``run_dir`` holds an interrupted run of this config, which is to go on.

    Raises:
        FrcnnError: data, weights, settings or folder do not serve.
    """
    run_dir = pathlib.Path(run_dir)
    place = workers.find()
    if not resume and place.rank == 0 and (run_dir / "config.json").exists():
        raise ConfigError(f"{run_dir} holds a run already: give another folder with --out")
    print(f"device: {backend.prepare_device(place.local_rank)}")
    crew = workers.join()
    print(crew.summary(config), end="")
    with crew.in_turn():
        train_set, val_set = datasets.load(config.data)
        for dataset in (train_set, val_set):
            print(dataset.summary())
            if not len(dataset):
                raise DataError(f"{dataset.name} has no image to work with")
        if not train_set.classes:
            raise DataError(f"{train_set.name} has no object, so there is no class to learn")
        # After the data, so that nothing is downloaded for a run that cannot start.
        weight_file = weights.locate(config.model.weights, config.model.backbone)
    config = config.replace({"data.classes": train_set.classes})
    if config.model.preprocessing == "auto":
        preprocessing = weights.preprocessing_for(weight_file, config.model.backbone)
        config = config.replace({"model.preprocessing": preprocessing})

    # Keras draws initial weights and dropout from its global generator, which is seeded only here.
    keras.utils.set_random_seed(config.train.seed)
    built = models.build(config, len(train_set.classes))
    if weight_file:
        print(f"{weight_file}: {weights.fill(built.detector, weight_file).summary()}")

    # Each has read the data and drawn the weights itself.
    crew.expect_same(
        config=config.to_json(),
        data=[sample.name for split in (train_set, val_set) for sample in split.samples],
        weights=built.detector.get_weights(),
    )
    try:
        if crew.is_first:
            run_dir.mkdir(parents=True, exist_ok=True)
            (run_dir / "config.json").write_text(config.to_json(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to the run folder {run_dir}: {error}") from error
    skipped = [(split.name, *entry) for split in (train_set, val_set) for entry in split.skipped]
    if skipped and crew.is_first:
        print(f"{len(skipped)} images left out because of faults: see {run_dir / 'skipped.csv'}")
        faults.record(run_dir / "skipped.csv", skipped)
    trainer = Trainer(built, config, train_set, val_set, run_dir)
    if resume:
        trainer.resume()
    return trainer.fit()


class Trainer:
    """Trains ``Models`` on one data set and validates on another.

    Args:
        models: ``frcnn.models.Models``.
        config: the ``Config`` they were built from.
        train_set, val_set: ``frcnn.data.dataset.Dataset`` with the same classes.
        run_dir: existing folder, ``pathlib.Path``.

    Several workers (``frcnn.workers``) each have a ``Trainer`` that does the same, on its share of every
    batch; the first of them writes.
    """

    def __init__(self, models, config, train_set, val_set, run_dir):
        self.models = models
        self.config = config
        self.classes = train_set.classes
        self.run_dir = run_dir
        self.crew = workers.current()
        self.unrecorded = []  # images that this worker has left out and that the first one has to record
        targeter = RpnTargeter(models.pyramid, config.rpn)
        common = (config.data, models.size_multiple, config.train.seed)
        options = {"make_targets": targeter, "record": self._record, "share": self.crew.share}
        self.batches = Pipeline(train_set, *common, training=True, **options)
        self.val_batches = Pipeline(val_set, *common, training=False, **options)
        self.steps_per_epoch = config.train.steps_per_epoch or len(self.batches)
        self.schedule = SCHEDULES[config.train.schedule](
            models,
            config,
            self.steps_per_epoch * config.train.epochs,
            np.random.default_rng((config.train.seed, 1)),
        )
        self.step = 0
        self.best = (0, 0.0)

    def fit(self):
        """Run all epochs and return the last validation's ``VocAp``."""
        started, seconds, result = time.perf_counter(), 0.0, None
        stream = self._stream()
        with RunLogger(self.run_dir) as logger:
            first = self.step // self.steps_per_epoch + 1
            for epoch in range(first, self.config.train.epochs + 1):
                epoch_started = time.perf_counter()
                train_means = self._epoch(epoch, stream, logger)
                seconds += time.perf_counter() - epoch_started
                val_means, result = dict.fromkeys(EPOCH_TAGS), None
                if epoch % self.config.train.validate_every == 0 or epoch == self.config.train.epochs:
                    val_means, result = self._validate(logger)
                self._record_others()
                self._save(result)
                self._write_row(epoch, seconds, train_means, val_means, result)
        total = time.perf_counter() - started
        print(f"{self.step} steps, {seconds:.0f} s of training, {total:.0f} s with validation")
        return result

    def resume(self):
        """Go on after the last phase whose weights are in the run folder.

        Steps, rates and sampling go on as in a run without interruption. So do the batches where a phase
        ended with an epoch of the data; else they start at the beginning of that epoch. The TensorBoard
        runs keep what the interrupted run wrote after that phase, beside what is written now.

        Raises:
            ConfigError: no phase has ended, or all have.
            WeightsError: the weights are of another network.
        """
        done = [step for step in self.schedule.milestones if self._milestone(step).is_file()]
        if not done:
            raise ConfigError(f"{self.run_dir} cannot be resumed: it has no {PHASE_FILES}")
        if max(done) == max(self.schedule.milestones):
            raise ConfigError(f"{self.run_dir} has been trained to its end: there is nothing to resume")
        self.step = max(done)
        self.schedule.start_at(self.step, self._milestone(self.step))
        if self.crew.is_first:
            metrics_csv.drop_after(self.run_dir / "metrics.csv", self.step)
        print(f"resuming after {self.schedule.milestones[self.step]}, {self.step} steps")

    def _milestone(self, step):
        return self.run_dir / f"{self.schedule.milestones[step]}.weights.h5"

    def _stream(self):
        """Yield (batch, seconds waited for it) for ever, epoch after epoch of the data."""
        number = self.step // len(self.batches)
        while True:
            batches = self.batches.epoch(number)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                yield batch, time.perf_counter() - asked
            number += 1

    def _epoch(self, epoch, stream, logger):
        """Train one epoch and return the means of its scalars."""
        means = Means()
        title = f"epoch {epoch}/{self.config.train.epochs}"
        left = self.steps_per_epoch - self.step % self.steps_per_epoch  # a resumed run may start within
        with tqdm(total=left, desc=title, unit="step", mininterval=1.0) as bar:
            for _ in range(left):
                batch, waited = next(stream)
                scalars = self.schedule.train_step(batch) | {"time/data": waited}
                self.step += 1
                means.add(scalars)
                if self.step in self.schedule.milestones and self.crew.is_first:
                    path = self._milestone(self.step)
                    checkpoints.save(self.models, self.config, path)
                is_logged = self.step == 1 or self.step % self.config.train.log_every == 0
                if is_logged and self.crew.is_first:
                    logger.write("train", self.step, scalars)
                shown = {
                    tag: f"{means[tag]:.3f}" for tag in ("rpn/loss", "classifier/loss", "total_loss")
                }
                bar.set_postfix(shown, refresh=False)
                bar.update()
        return means

    def _validate(self, logger):
        """Return the means of the validation scalars and the ``VocAp``, and log both.

        They stand on the training step's axis, in a run of their own.
        """
        # The same RoIs every time, so that validation losses differ by the weights alone.
        generator = np.random.default_rng((self.config.train.seed, 2))
        detector = Detector(self.schedule.validated, self.config, self.classes)
        means, indices, detections = Means(), [], []
        for batch in tqdm(
            self.val_batches.epoch(), "validation", len(self.val_batches), False, unit="batch"
        ):
            means.add(self.schedule.validation_step(batch, generator), batch.total)
            found, _ = evaluation.detect_batch(detector, batch)
            indices += batch.indices
            detections += found
        detections, truths = evaluation.gather(detections, indices, self.val_batches.dataset)
        detection = self.config.detection
        result = voc_ap(
            detections, truths, len(self.classes), detection.ap_iou, detection.ap_interpolation
        )
        print(format_table(result, self.classes))
        scalars = {tag: means[tag] for tag in means if not tag.startswith("time/")}
        ap = {f"AP/{name}": float(value) for name, value in zip(self.classes, result.ap)}
        if self.crew.is_first:
            logger.write("validation", self.step, scalars | ap | {"mAP": float(result.mean_ap)})
        return means, result

    def _record(self, *left_out):
        """Record an image that only turned out during training to be of no use."""
        faults.announce(*left_out)
        if self.crew.is_first:
            faults.record(self.run_dir / "skipped.csv", [left_out])
        else:
            self.unrecorded.append(left_out)

    def _record_others(self):
        """Record the images that the other workers have left out since the last time."""
        if self.crew.place.count == 1:
            return
        for left_out in itertools.chain.from_iterable(self.crew.gather_json(self.unrecorded)):
            if self.crew.is_first:
                self._record(*left_out)
        self.unrecorded = []

    def _save(self, result):
        """Write the weights, and once more if they are the best yet."""
        if not self.crew.is_first:
            return
        checkpoints.save(self.models, self.config, self.run_dir / "last.weights.h5")
        # Without a number to compare (no object in the validation split) the last are the best.
        score = 0.0 if result is None or np.isnan(result.mean_ap) else float(result.mean_ap)
        score = (self.schedule.phase, score)
        # What is validated is what the file holds, unless detections take a second network.
        if score >= self.best and self.schedule.validated is self.models:
            self.best = score
            checkpoints.save(self.models, self.config, self.run_dir / "best.weights.h5")

    def _write_row(self, epoch, seconds, train_means, val_means, result):
        if not self.crew.is_first:
            return
        row = {"epoch": epoch, "step": self.step, "train_seconds": round(seconds, 1)}
        row["mAP"] = None if result is None else float(result.mean_ap)
        for index, name in enumerate(self.classes):
            row[f"AP/{name}"] = None if result is None else float(result.ap[index])
        for run, means in (("train", train_means), ("validation", val_means)):
            row |= {f"{run}/{tag}": means.get(tag) for tag in EPOCH_TAGS}
        metrics_csv.append_row(self.run_dir / "metrics.csv", row)


class Means(dict):
    """Running weighted means of named scalars; a step need not bring all names."""

    def __init__(self):
        super().__init__()
        self._weights = {}

    def add(self, scalars, weight=1.0):
        """Take in the scalars of one step, {name: value}."""
        for name, value in scalars.items():
            total = self._weights[name] = self._weights.get(name, 0.0) + weight
            self[name] = self.get(name, 0.0) + (value - self.get(name, 0.0)) * weight / total
