"""Runs a detector on a labelled data set and scores its detections.

Validation during training and ``frcnn evaluate`` share ``detect_batch`` and the loader: the same
weights, images and batch size give the same mAP. (The batch size matters a little, because images are
padded to the largest of their batch.)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from frcnn.collectives import all_gather
from frcnn.config.schema import Config, DataConfig, DetectionConfig
from frcnn.data import oriented
from frcnn.data.faults import announce
from frcnn.data.loader import Batch, DataLoader
from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError, DataError
from frcnn.evaluation import coco_ap, voc_ap
from frcnn.text import listed

Detector = Any  # frcnn.detector.Detector, which imports this module
# Name of a metric -> interpolation of VOC AP; None: COCO AP. "oriented" takes the overlap of oriented
# boxes, as DOTA (Xia et al. 2018) does.
METRICS: dict[str, str | None] = {
    "voc07": "11-point",
    "voc12": "all-point",
    "coco": None,
    "oriented": "all-point",
}


def ap_interpolation(config: DetectionConfig, dataset: Dataset) -> str:
    """Return the interpolation of VOC AP on a data set: "11-point" or "all-point".

    "auto" means VOC's own rule: 11-point for VOC 2007, also for 07+12, which is tested on 2007;
    all-point from 2010 on, and for other data.

    Args:
        config: with ``ap_interpolation``.
        dataset: its name begins with the year, as ``frcnn.data.voc`` sets it.
    """
    if config.ap_interpolation != "auto":
        return config.ap_interpolation
    is_2007 = dataset.name.lower().startswith(("voc2007 ", "voc07+12 "))
    return "11-point" if is_2007 else "all-point"


def default_metric(config: Config, dataset: Dataset) -> str:
    """Return the metric of ``METRICS`` that training logs as mAP for a network and a data set."""
    if config.box.kind == "oriented":
        return "oriented"
    return {"11-point": "voc07", "all-point": "voc12"}[ap_interpolation(config.detection, dataset)]


def detect_batch(detector: Detector, batch: Batch) -> tuple[list[dict], list[dict]]:
    """Return detections and truths of a batch, one dict per image, as ``voc_ap`` takes them.

    Boxes are in pixels of the image files.
    """
    sizes = [(sample.height, sample.width) for sample in batch.samples]
    detections = detector.detect(batch.images, batch.image_sizes, sizes)
    return detections, [sample.truth() for sample in batch.samples]


def classify_labels(detector: Detector, batch: Batch) -> list[np.ndarray] | None:
    """Return the classifier's scores of the labelled boxes themselves, instead of the RPN's proposals.

    Args:
        detector: the detector.
        batch: images and labels; ``difficult`` ones are classified, too.

    Returns:
        For each image (G, C) scores of its G labels, background last, in the order of ``Sample.boxes``;
        None if the detector is an exported file, which cannot tell.
    """
    if detector.models.box_classifier is None:
        return None
    kind = detector.config.box.kind
    counts = [len(sample.boxes) for sample in batch.samples]
    rois = np.zeros((len(batch.images), max([1, *counts]), detector.models.kind.size), "float32")
    for row, (sample, (height, width)) in enumerate(zip(batch.samples, batch.image_sizes)):
        factors = np.array([width / sample.width, height / sample.height])
        rois[row, : counts[row]] = oriented.stretch(sample.boxes_of(kind), factors)
    scores = detector.models.box_classifier.predict_on_batch([batch.images, rois])
    return [of_image[:count] for of_image, count in zip(scores, counts)]


def gather(
    detections: Sequence[dict], indices: Sequence[int], dataset: Dataset, box_kind: str = "axis_aligned"
) -> tuple[list[dict], list[dict]]:
    """Gather the detections of all processes; return them and their truths in the data set's order.

    A collective operation: all processes must call it.

    Args:
        detections: one dict per image, as ``detect_batch`` returns them.
        indices: index of each image in the data set. No image is in two processes.
        dataset: the whole data set.
        box_kind: as ``box.kind`` has it.
    """
    counts = [len(found["scores"]) for found in detections]
    images = np.array([*zip(indices, counts)], "int32").reshape(-1, 2)
    empty = {"boxes": np.zeros((0, 4)), "scores": np.zeros(0), "labels": np.zeros(0)}
    dtypes = {"boxes": "float32", "scores": "float32", "labels": "int32"}
    if box_kind == "oriented":
        empty["oriented"], dtypes["oriented"] = np.zeros((0, 5)), "float32"
    columns = {}
    images = all_gather(images)
    for name, dtype in dtypes.items():
        column = np.concatenate([found[name] for found in [empty, *detections]]).astype(dtype)
        columns[name] = np.split(all_gather(column), np.cumsum(images[:, 1])[:-1])
    found, truths = [], []
    for row in np.argsort(images[:, 0]):
        found.append({name: column[row] for name, column in columns.items()})
        truths.append(dataset.samples[images[row, 0]].truth())
    return found, truths


def detect(
    detector: Detector,
    dataset: Dataset,
    data: DataConfig | None = None,
    on_skip: Callable[[str, str, str], Any] = announce,
    on_batch: Callable[[Batch, float], None] = lambda batch, seconds: None,
) -> tuple[list[dict], list[dict]]:
    """Return detections and truths of a whole data set, one dict per image, in its order.

    Args:
        detector: the detector.
        dataset: data set with the detector's classes.
        data: settings of the loader; None: those of the detector's config.
        on_skip: called with (split, image, fault) for each image that cannot be decoded, if ``data``
            says to skip such images.
        on_batch: called after each batch with it and the seconds that the detector took.

    Raises:
        DataError: the classes differ, there is no image, or an image cannot be decoded.
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
    kind = detector.config.box.kind
    batches = DataLoader(dataset, data, multiple, training=False, on_skip=on_skip, box_kind=kind)
    detections: list[dict] = []
    truths: list[dict] = []
    for batch in tqdm(batches.epoch(), "evaluation", len(batches), unit="batch", mininterval=1.0):
        started = time.perf_counter()
        batch_detections, batch_truths = detect_batch(detector, batch)
        on_batch(batch, time.perf_counter() - started)
        detections += batch_detections
        truths += batch_truths
    return detections, truths


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Result of a metric.

    Attributes:
        mean_ap: the metric's main number, in [0, 1].
        table: text for people.
        values: everything for JSON, NaN as None.
    """

    mean_ap: float
    table: str
    values: dict[str, Any]


def score(
    detections: Sequence[dict],
    truths: Sequence[dict],
    classes: Sequence[str],
    metric: str,
    iou_threshold: float = 0.5,
) -> Scores:
    """Score detections.

    Args:
        detections: as ``detect`` returns them.
        truths: as ``detect`` returns them.
        classes: names of the object classes.
        metric: one of ``METRICS``.
        iou_threshold: for the VOC metrics. COCO averages over ten thresholds.

    Raises:
        ConfigError: an unknown metric.
        FrcnnError: "coco" without ``pycocotools``.
    """
    result: Any
    if metric not in METRICS:
        raise ConfigError(f"there is no metric {metric!r}, only {', '.join(METRICS)}")
    interpolation = METRICS[metric]
    if interpolation is None:
        result = coco_ap.coco_ap(detections, truths, len(classes))
        table = coco_ap.format_table(result, classes)
        summary = {name: _number(value) for name, value in result.summary.items()}
        rows = [
            {name: _number(value) for name, value in zip(coco_ap.CLASS_NAMES, row)} for row in result.ap
        ]
    else:
        counted = len(classes), iou_threshold, interpolation, metric == "oriented"
        result = voc_ap.voc_ap(detections, truths, *counted)
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
