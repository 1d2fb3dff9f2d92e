"""Runs a detector on a labelled data set, and computes the AP of its detections.

Validation during training and ``frcnn evaluate`` use the same functions and the same loader. So the same
weights, images and batch size give the same mAP. (The batch size matters a little, because images are
padded to the largest image of their batch.)
"""

from __future__ import annotations

import dataclasses
import itertools
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
from frcnn.ops import views
from frcnn.text import bar_options, listed

Detector = Any  # frcnn.detector.Detector, which imports this module
# {metric: interpolation of VOC AP; None: COCO AP}. "oriented" uses the IoU of oriented boxes, as DOTA
# (Xia et al. 2018) does.
METRICS: dict[str, str | None] = {
    "voc07": "11-point",
    "voc12": "all-point",
    "coco": None,
    "oriented": "all-point",
}


def ap_interpolation(config: DetectionConfig, dataset: Dataset) -> str:
    """Return the interpolation of VOC AP for a data set: "11-point" or "all-point".

    "auto" means VOC's rule: 11-point for VOC 2007 and for 07+12, whose test split is that of 2007;
    all-point since VOC 2010, and for all other data.

    Args:
        config: the section ``detection`` of the settings.
        dataset: the data set. The name of a VOC data set begins with its year (``frcnn.data.voc``).
    """
    if config.ap_interpolation != "auto":
        return config.ap_interpolation
    is_2007 = dataset.name.lower().startswith(("voc2007 ", "voc07+12 "))
    return "11-point" if is_2007 else "all-point"


def default_metric(config: Config, dataset: Dataset) -> str:
    """Return the metric that training logs as mAP for a network and a data set, one of ``METRICS``."""
    if config.box.kind == "oriented":
        return "oriented"
    return {"11-point": "voc07", "all-point": "voc12"}[ap_interpolation(config.detection, dataset)]


def detect_batch(detector: Detector, batch: Batch) -> tuple[list[dict], list[dict]]:
    """Return the detections and the ground truth of a batch, one dict per image, as for ``voc_ap``.

    Boxes are in pixels of the image files.
    """
    sizes = [(sample.height, sample.width) for sample in batch.samples]
    detections = detector.detect(batch.images, batch.image_sizes, sizes)
    return detections, [sample.truth() for sample in batch.samples]


def classify_labels(detector: Detector, batch: Batch) -> list[np.ndarray] | None:
    """Return the classifier's scores for the labelled boxes, in place of proposals of the RPN.

    Args:
        detector: the detector.
        batch: images and labels. ``difficult`` objects are classified as well.

    Returns:
        For each image the scores (G, C) of its G labelled boxes, background last, in the order of
        ``Sample.boxes``; None for an exported file, which cannot classify given boxes.
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
    """Gather the detections of all processes. Collective operation.

    Args:
        detections: one dict per image, as from ``detect_batch``.
        indices: index of each image in the data set. Each image is in one process only.
        dataset: the whole data set.
        box_kind: value of the setting ``box.kind``.

    Returns:
        The detections of all processes, and the ground truth of their images, in the data set's order.
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
    """Return the detections and the ground truth of a data set, one dict per image, in its order.

    Args:
        detector: the detector.
        dataset: data set with the detector's classes.
        data: settings of the loader; None: those of the detector's config.
        on_skip: called with (split, image, fault) for each image that cannot be decoded, unless
            ``data.on_bad_data`` is "error".
        on_batch: called after each batch with the batch and the detector's time, seconds.

    Raises:
        DataError: the classes differ, there is no image, or an image cannot be decoded.
    """
    if tuple(dataset.classes) != detector.classes:
        raise DataError(
            f"{dataset.name} has the classes {listed(dataset.classes)}, but "
            f"the detector has {listed(detector.classes)}"
        )
    if not len(dataset):
        raise DataError(f"{dataset.name} has no image")
    multiple = detector.models.size_multiple
    config, settings = detector.config, detector.config.detection
    # One loader per view. They have the same images in the same batches. The first reports the skipped.
    reports = itertools.chain([on_skip], itertools.repeat(lambda *fault: None))
    loaders = [
        DataLoader(dataset, own, multiple, training=False, on_skip=report, box_kind=config.box.kind)
        for own, report in zip(views_of(config, data), reports)
    ]
    detections: list[dict] = []
    truths: list[dict] = []
    batches = zip(*(loader.epoch() for loader in loaders))
    for views_of_batch in tqdm(batches, "evaluation", len(loaders[0]), unit="batch", **bar_options()):
        started = time.perf_counter()
        found, batch_truths = detect_batch(detector, views_of_batch[0])
        if len(loaders) > 1:
            others = [detect_batch(detector, batch)[0] for batch in views_of_batch[1:]]
            options = settings.nms_iou, settings.max_detections
            found = [views.merge(of_image, *options) for of_image in zip(found, *others)]
        on_batch(views_of_batch[0], time.perf_counter() - started)
        detections += found
        truths += batch_truths
    return detections, truths


def views_of(config: Config, data: DataConfig | None = None) -> list[DataConfig]:
    """Return the section ``data`` for each size at which ``detection.short_sides`` has images detected.

    Args:
        config: the settings of a detector.
        data: section to change; None: that of ``config``.
    """
    data = data or config.data
    if not config.detection.short_sides:
        return [data]
    factors = [(side, side / data.short_side) for side in config.detection.short_sides]
    return [
        data.replace(short_side=side, long_side=max(side, round(data.long_side * factor)))
        for side, factor in factors
    ]


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Result of a metric.

    Attributes:
        mean_ap: the main number of the metric, in [0, 1].
        table: the result as text.
        values: the result as values for JSON; NaN is None.
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
    """Compute a metric of detections.

    Args:
        detections, truths: the results of ``detect``.
        classes: names of the object classes.
        metric: one of ``METRICS``.
        iou_threshold: least IoU of a hit, for all metrics except "coco", which has ten thresholds.

    Raises:
        ConfigError: an unknown metric.
        FrcnnError: ``pycocotools`` is not installed, for "coco".
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
