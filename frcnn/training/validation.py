"""Validation during a run: losses and mAP on images that the network does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm import tqdm

from frcnn import rng as rng_module
from frcnn.config.schema import Config
from frcnn.data.detections import to_image_pixels
from frcnn.data.loader import DataLoader
from frcnn.evaluation import evaluator
from frcnn.evaluation.voc_ap import VocAp, format_table, voc_ap
from frcnn.logging.running_mean import RunningMean
from frcnn.text import bar_options, echo
from frcnn.training.schedule import Schedule
from frcnn.training.visual_log import VisualLog


def validate(
    schedule: Schedule,
    loader: DataLoader,
    config: Config,
    classes: Sequence[str],
    after_batch: Callable[[], None] = lambda: None,
    visual_log: VisualLog | None = None,
) -> tuple[dict[str, float], VocAp]:
    """Compute the losses and the mAP on all images of a split, in all processes together.

    With ``train.ema`` they are those of the averaged weights.

    Args:
        schedule: the schedule whose network is validated.
        loader: loader of the split, with RPN targets.
        config: the settings of the run.
        classes: names of the object classes.
        after_batch: called after each batch. An error that it raises ends the validation.
        visual_log: gets the images and detections; None: nothing is drawn.

    Returns:
        {TensorBoard tag: mean over the images}, and the scalars of ``VisualLog.finish``.
        The AP.
    """
    with schedule.averaged_weights():
        return _validate(schedule, loader, config, classes, after_batch, visual_log)


def _validate(schedule, loader, config, classes, after_batch, visual_log):
    # The same random numbers every time, so that validation losses differ only because of the weights.
    rng = rng_module.generator(config.train.seed, rng_module.VALIDATION_ROIS)
    means, indices, detections = RunningMean(), [], []
    options = {"leave": False, "unit": "batch", "disable": loader.share > 0} | bar_options()
    for batch in tqdm(loader.epoch(), "validation", len(loader), **options):
        scalars, found = schedule.validation_step(batch, rng)
        means.add(scalars, batch.total)
        sizes = [(sample.height, sample.width) for sample in batch.samples]
        detections += to_image_pixels(*found, batch.image_sizes, sizes)
        indices += batch.indices
        if visual_log:
            visual_log.add(batch, schedule.outputs)
        after_batch()
    detections, truths = evaluator.gather(detections, indices, loader.dataset, config.box.kind)
    interpolation = evaluator.ap_interpolation(config.detection, loader.dataset)
    is_oriented = config.box.kind == "oriented"
    counted = len(classes), config.detection.ap_iou, interpolation, is_oriented
    result = voc_ap(detections, truths, *counted)
    echo(format_table(result, classes))
    more = visual_log.finish(detections, truths, result) if visual_log else {}
    return means | more, result
