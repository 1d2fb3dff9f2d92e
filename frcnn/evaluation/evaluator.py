"""A detector against a labelled data set: detections beside the truth, and the metrics of both.

Validation inside a run and ``scripts/evaluate.py`` share ``detect_batch`` and the pipeline, so that they
cannot disagree: the same weights, images and batch size give the same mAP. (The batch size matters a
little: an image's padding, which its borders can see, is that of its batch.)
"""

import dataclasses

import numpy as np
from tqdm import tqdm

from frcnn.collectives import all_gather
from frcnn.data.faults import announce
from frcnn.data.loader import DataLoader
from frcnn.errors import ConfigError, DataError
from frcnn.evaluation import coco_ap, voc_ap
from frcnn.text import listed

# Name of a metric -> the interpolation of VOC AP; None: COCO's.
METRICS = {"voc07": "11-point", "voc12": "all-point", "coco": None}


def ap_interpolation(config, dataset):
    """Return how VOC AP is interpolated on a data set: "11-point" or "all-point".

    Where the setting says "auto", it is as VOC itself does it: 11-point for VOC 2007, which includes
    07+12 as that is tested on 2007; the area below the whole curve from 2010 on, and for other data.

    Args:
        config: ``DetectionConfig``.
        dataset: ``frcnn.data.sample.Dataset``; ``frcnn.data.voc`` has put the year into its name.
    """
    if config.ap_interpolation != "auto":
        return config.ap_interpolation
    is_2007 = dataset.name.lower().startswith(("voc2007 ", "voc07+12 "))
    return "11-point" if is_2007 else "all-point"


def detect_batch(detector, batch):
    """Return detections and truths of a ``Batch``, a dict an image each, as the metrics want them.

    Boxes are in pixels of the image files.
    """
    sizes = [(sample.height, sample.width) for sample in batch.samples]
    found = detector.detect(batch.images, batch.image_sizes, sizes)
    return found, [sample.truth() for sample in batch.samples]


def gather(detections, indices, dataset):
    """Return all workers' detections, and the truths of their images, in the order of the data set.

    Args:
        detections: a dict an image, as ``detect_batch`` returns them.
        indices: the place of each image in the data set; no image is two workers'.
        dataset: ``Dataset``.
    """
    counts = [len(found["scores"]) for found in detections]
    images = np.array([*zip(indices, counts)], "int32").reshape(-1, 2)
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0)}
    columns = {}
    images = all_gather(images)
    for name, dtype in (("boxes", "float32"), ("scores", "float32"), ("labels", "int32")):
        column = np.concatenate([found[name] for found in [empty, *detections]]).astype(dtype)
        columns[name] = np.split(all_gather(column), np.cumsum(images[:, 1])[:-1])
    found, truths = [], []
    for row in np.argsort(images[:, 0]):
        found.append({name: column[row] for name, column in columns.items()})
        truths.append(dataset.samples[images[row, 0]].truth())
    return found, truths


def detect(detector, dataset, data=None, on_skip=announce):
    """Return the detections and truths of a whole data set, a dict an image each, in its order.

    Args:
        detector: ``frcnn.detector.Detector``.
        dataset: ``frcnn.data.sample.Dataset`` with the detector's classes.
        data: ``DataConfig``: how images become batches; None: as the detector was trained.
        on_skip: as ``DataLoader`` takes it: called for each image that cannot be decoded, where
            ``data`` says to skip them.

    Raises:
        DataError: other classes, no image, or one that cannot be decoded.
    """
    if tuple(dataset.classes) != detector.classes:
        raise DataError(
            f"{dataset.name} has the classes {listed(dataset.classes)}; "
            f"the detector knows {listed(detector.classes)}"
        )
    if not len(dataset):
        raise DataError(f"{dataset.name} has no image to work with")
    multiple = detector.models.size_multiple
    data = data or detector.config.data
    batches = DataLoader(dataset, data, multiple, training=False, on_skip=on_skip)
    detections, truths = [], []
    for batch in tqdm(batches.epoch(), "evaluation", len(batches), unit="batch", mininterval=1.0):
        found, known = detect_batch(detector, batch)
        detections += found
        truths += known
    return detections, truths


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """A metric's result: to read (``table``), and to keep as JSON (``values``, NaN as None)."""

    mean_ap: float
    table: str
    values: dict


def score(detections, truths, classes, metric, iou_threshold=0.5):
    """Return the ``Scores`` of detections.

    Args:
        detections, truths: as ``detect`` returns them.
        classes: the names of the object classes.
        metric: one of ``METRICS``.
        iou_threshold: of the VOC metrics; COCO has its own ten.

    Raises:
        ConfigError: an unknown metric.
        FrcnnError: COCO's without ``pycocotools``.
    """
    if metric not in METRICS:
        raise ConfigError(f"there is no metric {metric!r}, only {', '.join(METRICS)}")
    if METRICS[metric] is None:
        result = coco_ap.coco_ap(detections, truths, len(classes))
        table = coco_ap.format_table(result, classes)
        summary = {name: _number(value) for name, value in result.summary.items()}
        rows = [
            {name: _number(value) for name, value in zip(coco_ap.CLASS_NAMES, row)} for row in result.ap
        ]
    else:
        result = voc_ap.voc_ap(detections, truths, len(classes), iou_threshold, METRICS[metric])
        table = voc_ap.format_table(result, classes)
        summary = {"mAP": _number(result.mean_ap), "iou_threshold": iou_threshold}
        rows = [{"AP": _number(ap)} for ap in result.ap]
    counts = zip(result.objects.tolist(), result.detections.tolist())
    by_class = {
        name: row | {"objects": objects, "detections": found}
        for name, row, (objects, found) in zip(classes, rows, counts)
    }
    values = {"metric": metric, "images": len(truths), "summary": summary, "classes": by_class}
    return Scores(float(result.mean_ap), table, values)


def _number(value):
    return None if np.isnan(value) else float(value)
