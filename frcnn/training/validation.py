"""How good a network is by now, on images that it does not learn from."""

from tqdm import tqdm

from frcnn import rng
from frcnn.detector import Detector
from frcnn.evaluation import evaluator
from frcnn.evaluation.voc_ap import format_table, voc_ap
from frcnn.logging.running_mean import RunningMean


def best_by(config, val_set):
    """Return by what the best weights are chosen, "mAP" or "last", and a sentence that says why.

    Where the setting says "auto", nothing is chosen on a test split: what is chosen by its numbers has
    better ones there than on other images. The paper has a fixed course and takes the last weights.

    Args:
        config: ``Config``.
        val_set: ``Dataset`` that is validated on.
    """
    best, split = config.train.best, config.data.val_split
    if best == "auto":
        best = "last" if split.lower().startswith("test") else "mAP"
        why = f"as {val_set.name} is {'a' if best == 'last' else 'no'} test split (train.best=auto)"
    else:
        why = f"by train.best={best}"
    what = {"mAP": "the weights of the best mAP", "last": "the last weights, whatever their mAP"}[best]
    return best, f"best.weights.h5: {what}, {why}"


def validate(schedule, batches, config, classes, after_batch=lambda: None):
    """Run a split once through without learning, and score the detections: all workers' together.

    Args:
        schedule: ``schedule.Schedule``.
        batches: ``DataLoader`` of the split, with RPN targets.
        config: ``Config``.
        classes: the object classes' names.
        after_batch: called after each batch; what it raises ends the validation.

    Returns:
        The ``RunningMean`` of what the schedule's validation steps gave, and the ``VocAp``.
    """
    # The same RoIs every time, so that validation losses differ by the weights alone.
    generator = rng.generator(config.train.seed, rng.VALIDATION_ROIS)
    detector = Detector(schedule.validated, config, classes)
    means, indices, detections = RunningMean(), [], []
    options = {"leave": False, "unit": "batch", "disable": batches.share > 0}
    for batch in tqdm(batches.epoch(), "validation", len(batches), **options):
        means.add(schedule.validation_step(batch, generator), batch.total)
        found, _ = evaluator.detect_batch(detector, batch)
        indices += batch.indices
        detections += found
        after_batch()
    detections, truths = evaluator.gather(detections, indices, batches.dataset)
    interpolation = evaluator.ap_interpolation(config.detection, batches.dataset)
    result = voc_ap(detections, truths, len(classes), config.detection.ap_iou, interpolation)
    print(format_table(result, classes))
    return means, result
