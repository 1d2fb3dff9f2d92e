"""What a run writes into its folder and says about it: by the first of its workers alone.

When it is time to write what, the loop knows (``frcnn.training.trainer``).
"""

import functools
import itertools

import keras

from frcnn.data import faults
from frcnn.logging import RunLogger
from frcnn.runs import checkpoints, metrics_csv, nonfinite_log, run_directory
from frcnn.text import echo
from frcnn.weights import detector_files

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


def main_process_only(method):
    """Have a ``RunWriter``'s method do nothing on other workers, and the disk's faults be one line."""

    @functools.wraps(method)
    def on_worker(self, *arguments):
        if self.group.is_main:
            with run_directory.writing(self.run_dir):
                return method(self, *arguments)

    return on_worker


class RunWriter:
    """Writes what ``frcnn.training.train.train`` lists.

    Args:
        run_dir: existing folder, ``pathlib.Path``.
        crew: ``process_group.ProcessGroup``, each of whom has a writer and calls it alike.
        models: ``frcnn.models.faster_rcnn.FasterRCNN``.
        config: the ``Config`` they were built from.
        classes: the object classes' names.

    Attributes:
        logger: ``RunLogger``, to be closed at the end.

    Raises:
        RunError: by any method: the folder takes no more.
    """

    def __init__(self, run_dir, group, models, config, classes):
        self.run_dir = run_dir
        self.group = group
        self.models = models
        self.config = config
        self.classes = classes
        self.logger = RunLogger(run_dir)
        self.texts = {}  # of the config, for each checkpoint: by name of file
        self.unrecorded = []  # images skipped here since the last ``gather_skipped_images``

    @main_process_only
    def begin(self, asked, is_changed, progress, checkpoint, broken, pipelines):
        """Take the folder back to where the run goes on, and write down the config and what is skipped.

        Args:
            asked: {key: value} of what the run was asked to do.
            is_changed: whether the config of the run in the folder is not that of this one.
            progress: ``RunState`` from which this one goes on.
            checkpoint: the ``Checkpoint`` with that, None if there is none.
            broken: {path of a checkpoint that is not whole: its fault}.
            pipelines: the ``DataLoader`` of each split.
        """
        for path, fault in broken.items():
            echo(f"{path} is not whole ({fault}): kept as {checkpoints.set_aside(path).name}")
        # The config comes first: it marks what is written next as a run's own.
        keep_as = f"until-step-{progress.step}" if is_changed else None
        run_directory.write_config(self.run_dir, asked, self.config, keep_as)
        self.texts = run_directory.config_texts(self.run_dir)
        if checkpoint:
            echo(f"going on from {checkpoint.path}")
            said = run_directory.rewind(self.run_dir, progress.step, progress.finished_step)
        else:
            said = run_directory.set_aside_logs(self.run_dir)
        for line in said:
            echo(line)
        self._list_left_out(pipelines)

    @main_process_only
    def write_scalars(self, run, step, scalars):
        """Log the scalars of a step, {tag: number}, to a ``run`` of ``RunLogger``."""
        self.logger.write(run, step, scalars)

    @main_process_only
    def record_nonfinite_step(self, step, images, scalars):
        """Record a step that was not applied, with all workers' images."""
        nonfinite_log.append(self.run_dir / run_directory.NONFINITE, step, images, scalars)
        echo(f"step {step} skipped, loss or gradient not finite: {', '.join(images)}")

    @main_process_only
    def save_checkpoint(self, progress, variables, state):
        """Write a checkpoint of {name: Keras variable} and a state for JSON, and return its path."""
        self.logger.flush()  # what a resumed run will not write again must be on disk
        folder, keep = self.run_dir / "checkpoints", self.config.checkpoint.keep
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
        return checkpoints.save(folder, progress.epoch, progress.step, arrays, state, keep, self.texts)

    @main_process_only
    def save_weights(self, name):
        """Write the weights as they are now to ``last`` or ``best`` ``.weights.h5``."""
        detector_files.save(self.models, self.config, self.run_dir / f"{name}.weights.h5")

    @main_process_only
    def append_metrics(self, progress, val_means, result):
        """Write the row of the epoch under way.

        Args:
            progress: ``RunState``, with the means of training.
            val_means: {tag: mean} of validation; what is missing is left empty.
            result: ``VocAp``, None without validation.
        """
        row = {"epoch": progress.epoch + 1, "step": progress.step}
        row["train_seconds"] = round(progress.seconds, 1)
        row["mAP"] = None if result is None else float(result.mean_ap)
        for index, name in enumerate(self.classes):
            row[f"AP/{name}"] = None if result is None else float(result.ap[index])
        for run, means in (("train", progress.means), ("validation", val_means)):
            row |= {f"{run}/{tag}": means.get(tag) for tag in EPOCH_TAGS}
        metrics_csv.append_row(self.run_dir / run_directory.METRICS, row)

    def record_skipped_image(self, *skipped_images):
        """Record (split, image, fault): an image that only training found to be of no use."""
        faults.announce(*skipped_images)
        self.unrecorded.append(skipped_images)
        self._append([skipped_images])

    def gather_skipped_images(self, pipelines):
        """Have the first worker record the images that the others have skipped since the last time.

        All workers must come here.
        """
        mine, self.unrecorded = self.unrecorded, []  # first, as pipelines go on meanwhile
        _, *others = self.group.gather_json(mine)
        self._take_over(itertools.chain.from_iterable(others), pipelines)

    @main_process_only
    def _take_over(self, found, pipelines):
        for split, image, fault in found:
            for pipeline in pipelines:
                if pipeline.dataset.name == split:
                    pipeline.skip_image(image, fault)  # which comes back here, unless it is known

    @main_process_only
    def _append(self, rows):
        faults.record(self.run_dir / "skipped.csv", rows)

    def _list_left_out(self, pipelines):
        """Write the list of images skipped, as far as it is known by now."""
        path = self.run_dir / "skipped.csv"
        path.unlink(missing_ok=True)
        rows = [(one.dataset.name, *entry) for one in pipelines for entry in one.dataset.skipped]
        rows += [(one.dataset.name, *entry) for one in pipelines for entry in one.skipped_images.items()]
        if rows:
            echo(f"{len(rows)} images skipped because of faults: see {path}")
            faults.record(path, rows)
