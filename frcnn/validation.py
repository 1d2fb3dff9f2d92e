"""How good a network is by now, on images that it does not learn from."""

from tqdm import tqdm

from frcnn import chance, evaluation
from frcnn.detector import Detector
from frcnn.means import Means
from frcnn.metrics.voc_ap import format_table, voc_ap


def validate(schedule, batches, config, classes, after_batch=lambda: None):
    """Run a split once through without learning, and score the detections: all workers' together.

    Args:
        schedule: ``schedules.Schedule``.
        batches: ``Pipeline`` of the split, with RPN targets.
        config: ``Config``.
        classes: the object classes' names.
        after_batch: called after each batch; what it raises ends the validation.

    Returns:
        The ``Means`` of what the schedule's validation steps gave, and the ``VocAp``.
    """
    # The same RoIs every time, so that validation losses differ by the weights alone.
    generator = chance.generator(config.train.seed, chance.VALIDATION_ROIS)
    detector = Detector(schedule.validated, config, classes)
    means, indices, detections = Means(), [], []
    options = {"leave": False, "unit": "batch", "disable": batches.share > 0}
    for batch in tqdm(batches.epoch(), "validation", len(batches), **options):
        means.add(schedule.validation_step(batch, generator), batch.total)
        found, _ = evaluation.detect_batch(detector, batch)
        indices += batch.indices
        detections += found
        after_batch()
    detections, truths = evaluation.gather(detections, indices, batches.dataset)
    options = config.detection.ap_iou, config.detection.ap_interpolation
    result = voc_ap(detections, truths, len(classes), *options)
    print(format_table(result, classes))
    return means, result
