"""Validation during a run: losses and mAP on images that the network does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm import tqdm

from frcnn import rng as rng_module
from frcnn.config.schema import Config
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset
from frcnn.detector import to_image_pixels
from frcnn.evaluation import evaluator
from frcnn.evaluation.voc_ap import VocAp, format_table, voc_ap
from frcnn.logging.running_mean import RunningMean
from frcnn.text import echo
from frcnn.training.schedule import Schedule


def best_by(config: Config, val_set: Dataset) -> tuple[str, str]:
    """Return what the best weights are chosen by, "mAP" or "last", and a sentence that says why.

    With the setting "auto", a test split does not choose: weights that are chosen by its mAP have a
    better mAP there than on other images. The paper takes the last weights.
    """
    best, split = config.train.best_weights, config.data.val_split
    if best == "auto":
        best = "last" if split.lower().startswith("test") else "mAP"
        article = "a" if best == "last" else "no"
        why = f"as {val_set.name} is {article} test split (train.best_weights=auto)"
    else:
        why = f"by train.best_weights={best}"
    what = {"mAP": "the weights of the best mAP", "last": "the last weights, whatever their mAP"}[best]
    return best, f"best.weights.h5: {what}, {why}"


def validate(
    schedule: Schedule,
    loader: DataLoader,
    config: Config,
    classes: Sequence[str],
    after_batch: Callable[[], None] = lambda: None,
) -> tuple[RunningMean, VocAp]:
    """Compute losses and mAP on a split, once through it, over all processes.

    Args:
        schedule: its network is validated.
        loader: of the split, with RPN targets.
        config: of the run.
        classes: names of the object classes.
        after_batch: called after each batch; what it raises ends the validation.

    Returns:
        The means of the scalars of the validation steps, and the AP.
    """
    # The same RoIs every time, so that validation losses differ by the weights alone.
    rng = rng_module.generator(config.train.seed, rng_module.VALIDATION_ROIS)
    means, indices, detections = RunningMean(), [], []
    options = {"leave": False, "unit": "batch", "disable": loader.share > 0}
    for batch in tqdm(loader.epoch(), "validation", len(loader), **options):
        scalars, found = schedule.validation_step(batch, rng)
        means.add(scalars, batch.total)
        sizes = [(sample.height, sample.width) for sample in batch.samples]
        detections += to_image_pixels(*found, batch.image_sizes, sizes)
        indices += batch.indices
        after_batch()
    detections, truths = evaluator.gather(detections, indices, loader.dataset)
    interpolation = evaluator.ap_interpolation(config.detection, loader.dataset)
    result = voc_ap(detections, truths, len(classes), config.detection.ap_iou, interpolation)
    echo(format_table(result, classes))
    return means, result
