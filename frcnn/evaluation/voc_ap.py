"""VOC average precision (AP) per class, and its mean.

This follows ``VOCevaldet.m`` of the VOC development kit (Everingham et al. 2010, section 4.2), also
where other implementations differ:

- A detection is compared with the object of its class with which it has the **highest** IoU. If a
  detection with a higher score has already matched that object, it is a false positive. (COCO compares
  it with the best object that is not matched yet.)
- It matches if the IoU is **>=** the threshold. (py-faster-rcnn uses ``>``.)
- Any number of detections that match a ``difficult`` object are ignored, and difficult objects are not
  counted.

Boxes are half-open, so the kit's ``+ 1`` in widths and heights is not needed. The IoU is the same.

All numbers are float64, so that rounding does not matter for an IoU of exactly the threshold.

C: object classes without background, M: detections, G: objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.data import oriented as oriented_boxes
from frcnn.ops import oriented_iou

# The arrays of one image: boxes, labels, and scores or difficult.
ImageArrays = Mapping[str, np.ndarray]

INTERPOLATIONS = ("all-point", "11-point")


@dataclasses.dataclass(frozen=True, eq=False)
class VocAp:
    """Result of ``voc_ap``. C is the number of object classes, without background.

    Attributes:
        ap: (C,) float64 in [0, 1]; NaN for a class without objects.
        mean_ap: mean of ``ap`` over the classes with objects; NaN if there are none.
        objects: (C,) int, number of objects that are not difficult.
        detections: (C,) int, number of detections, those on difficult objects included.
        precision: C arrays, precision after each detection that counts, highest score first.
        recall: C arrays, recall after the same detections; NaN without objects.
        scores: C arrays, scores of the same detections.
        hits: C arrays, bool, whether each of them is a true positive.
        iou_threshold: the argument of ``voc_ap``.
        interpolation: the argument of ``voc_ap``.
    """

    ap: np.ndarray
    mean_ap: float
    objects: np.ndarray
    detections: np.ndarray
    precision: tuple[np.ndarray, ...]
    recall: tuple[np.ndarray, ...]
    scores: tuple[np.ndarray, ...]
    hits: tuple[np.ndarray, ...]
    iou_threshold: float
    interpolation: str


def voc_ap(
    detections: Sequence[ImageArrays],
    ground_truths: Sequence[ImageArrays],
    num_classes: int,
    iou_threshold: float = 0.5,
    interpolation: str = "all-point",
    oriented: bool = False,
) -> VocAp:
    """Compute the average precision of each class and their mean.

    Detections of equal score keep their order: by image, then within the image.

    Args:
        detections: one dict per image: ``boxes`` (M, 4) half-open pixels, ``scores`` (M,), ``labels``
            (M,) int in [0, num_classes). M may be 0.
        ground_truths: one dict per image, in the same order: ``boxes`` (G, 4), ``labels`` (G,),
            ``difficult`` (G,) bool. G may be 0.
        num_classes: number of object classes, without background.
        iou_threshold: in (0, 1]; overlap at which a detection matches an object.
        interpolation: ``"all-point"``, the area under the curve (VOC 2010 and later), or
            ``"11-point"``, the mean of the precision at recall 0, 0.1, ..., 1 (VOC 2007).
        oriented: whether to use the IoU of oriented boxes. Then an image may have ``oriented``, (M, 5)
            or (G, 5), besides ``boxes``. Without it, its boxes have the angle 0.

    Returns:
        ``VocAp``. The AP of a class with objects and without detections is 0.

    Raises:
        ValueError: different numbers of images, arrays of mismatched shapes, a label outside the
            classes, a NaN score, or an invalid threshold or interpolation.

    Example:
        >>> box = {"boxes": [[0, 0, 10, 10]], "labels": [0]}
        >>> voc_ap([box | {"scores": [0.9]}], [box | {"difficult": [False]}], num_classes=1).mean_ap
        1.0
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {INTERPOLATIONS}, not {interpolation!r}")
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], not {iou_threshold}")
    if oriented:
        detections, ground_truths = (
            [with_oriented_boxes(image) for image in images] for images in (detections, ground_truths)
        )
    found = _gather(detections, ("boxes", "scores", "labels"), num_classes, "detections")
    truth = _gather(ground_truths, ("boxes", "labels", "difficult"), num_classes, "ground_truths")
    if len(found["sizes"]) != len(truth["sizes"]):
        raise ValueError(
            f"{len(found['sizes'])} images in detections, {len(truth['sizes'])} in ground_truths"
        )
    if np.isnan(found["scores"]).any():
        raise ValueError("a detection's score is NaN: probably the network's weights have NaN as well")

    matched = _most_overlapped(found, truth, iou_threshold)
    difficult = truth["difficult"].astype(bool)
    objects = np.bincount(truth["labels"][~difficult], minlength=num_classes)
    ap, precision, recall = np.full(num_classes, np.nan), [], []
    scores, all_hits = [], []
    for label in range(num_classes):
        chosen = np.flatnonzero(found["labels"] == label)
        chosen = chosen[np.argsort(-found["scores"][chosen], kind="stable")]
        chosen = chosen[~np.append(difficult, False)[matched[chosen]]]  # -1 takes the appended value
        hits = _true_positives(matched[chosen])
        scores.append(found["scores"][chosen])
        all_hits.append(hits)
        cumulated = np.cumsum(hits)
        precision.append(cumulated / np.arange(1, len(hits) + 1))
        recall.append(cumulated / objects[label] if objects[label] else cumulated * np.nan)
        if objects[label]:
            ap[label] = average_precision(cumulated, precision[-1], objects[label], interpolation)
    return VocAp(
        ap=ap,
        mean_ap=float(ap[objects > 0].mean()) if objects.any() else float("nan"),
        objects=objects,
        detections=np.bincount(found["labels"], minlength=num_classes),
        precision=tuple(precision),
        recall=tuple(recall),
        scores=tuple(scores),
        hits=tuple(all_hits),
        iou_threshold=float(iou_threshold),
        interpolation=interpolation,
    )


def format_table(result: VocAp, class_names: Sequence[str]) -> str:
    """Format the result as a table: one line per class, and the mean.

    Args:
        result: a ``VocAp``.
        class_names: names in the order of the labels.

    Returns:
        Lines of equal length, without a newline at the end. A class without objects has ``-``.
    """
    if len(class_names) != len(result.ap):
        raise ValueError(f"{len(class_names)} class names for {len(result.ap)} classes")
    mean_name = f"mAP@{result.iou_threshold:g} {result.interpolation}"
    rows = [*zip(class_names, result.objects, result.detections, result.ap, strict=True)]
    rows.append((mean_name, result.objects.sum(), result.detections.sum(), result.mean_ap))
    width = max(len(name) for name in ("class", mean_name, *class_names))
    lines = [f"{'class':{width}}  {'objects':>8}  {'detections':>10}  {'AP':>6}"]
    for name, objects, detections, ap in rows:
        ap = "-" if np.isnan(ap) else f"{ap:.4f}"
        lines.append(f"{name:{width}}  {objects:8d}  {detections:10d}  {ap:>6}")
    return "\n".join(lines)


def _gather(images, keys, num_classes, what):
    """Concatenate the arrays of all images by key. ``sizes`` is the number of boxes of each image."""
    images = [
        _checked(image, keys, num_classes, f"{what}[{index}]") for index, image in enumerate(images)
    ]
    # The empty array makes the result float64, and np.concatenate needs it if there are no images.
    size = images[0]["boxes"].shape[1] if images else 4
    joined = {
        key: np.concatenate([np.zeros((0, size) if key == "boxes" else 0), *(i[key] for i in images)])
        for key in keys
    }
    joined["labels"] = joined["labels"].astype(int)
    joined["sizes"] = np.array([len(image["labels"]) for image in images], int)
    return joined


def with_oriented_boxes(image: ImageArrays) -> dict[str, Any]:
    """Return the arrays of one image, with oriented boxes (M, 5) as its ``boxes``.

    They are ``oriented``; without it, the boxes with angle 0.
    """
    boxes = np.asarray(image["boxes"], float).reshape(-1, 4)
    own = image.get("oriented")
    return {**image, "boxes": oriented_boxes.from_axis_aligned(boxes) if own is None else own}


def as_boxes(values: Any) -> np.ndarray:
    """Return boxes as float64, (M, 4) or (M, 5); ``[]`` is (0, 4)."""
    boxes = np.asarray(values, "float64")
    return boxes.reshape(-1, 5 if boxes.shape[-1] == 5 else 4)


def _checked(image, keys, num_classes, where):
    """Return the arrays of one image; raise ``ValueError`` if they are invalid."""
    missing = [key for key in keys if key not in image]
    if missing:
        raise ValueError(f"{where} lacks {missing}: it has {sorted(image)}")
    arrays = {key: np.asarray(image[key]) for key in keys}
    if not arrays["boxes"].size:  # [] is allowed for (0, 4)
        arrays["boxes"] = arrays["boxes"].reshape(0, max(arrays["boxes"].shape[-1], 4))
    count, size = len(arrays["boxes"]), 5 if arrays["boxes"].shape[-1] == 5 else 4
    shapes = {key: array.shape for key, array in arrays.items()}
    if shapes != {key: (count, size) if key == "boxes" else (count,) for key in keys}:
        raise ValueError(f"{where} has arrays of mismatched shapes: {shapes}")
    labels = arrays["labels"]
    if count and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(
            f"{where} has labels {labels.min()} to {labels.max()}: "
            f"they must be in [0, {num_classes}), without background"
        )
    return arrays


def _most_overlapped(found, truth, iou_threshold):
    """Return, for each detection, the object of its class with the highest IoU; -1 below the threshold.

    Objects are numbered over all images. Of equal IoUs the first one counts, as in the kit.
    """
    matched = np.full(len(found["boxes"]), -1)
    last_found, last_truth = np.cumsum(found["sizes"]), np.cumsum(truth["sizes"])
    for image in np.flatnonzero((found["sizes"] > 0) & (truth["sizes"] > 0)):
        rows = slice(last_found[image] - found["sizes"][image], last_found[image])
        columns = slice(last_truth[image] - truth["sizes"][image], last_truth[image])
        overlaps = iou(found["boxes"][rows], truth["boxes"][columns])
        overlaps *= found["labels"][rows, None] == truth["labels"][columns]
        best = overlaps.argmax(axis=1)
        enough = overlaps.max(axis=1) >= iou_threshold
        matched[rows] = np.where(enough, columns.start + best, -1)
    return matched


def iou(boxes: np.ndarray, others: np.ndarray) -> Any:
    """Return the IoU (M, G) of each box (M, 4) with each of the others (G, 4); 0 for empty boxes.

    Both may also be oriented boxes, (M, 5) and (G, 5).
    """
    if boxes.shape[-1] == 5:
        return oriented_iou.iou(boxes, others, np)
    top_left = np.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[:, 2:])
    intersection = np.maximum(bottom_right - top_left, 0).prod(axis=-1)
    area, other_area = (np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=-1) for b in (boxes, others))
    union = area[:, None] + other_area - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _true_positives(matched):
    """Return (M,) bool: whether a detection is the first that matches its object.

    Args:
        matched: (M,) the object of each detection of one class, or -1, highest score first.
    """
    first = np.zeros(len(matched), bool)
    first[np.unique(matched, return_index=True)[1]] = True
    return first & (matched >= 0)


def average_precision(
    cumulated: np.ndarray, precision: np.ndarray, objects: int, interpolation: str
) -> Any:
    """Return the AP of one class.

    The interpolated precision at a recall is the highest precision at that recall or a higher one.
    Recalls are compared as numbers of objects: in floating point, 3 of 10 objects is less than 3 * 0.1.

    Args:
        cumulated: (M,) number of true positives up to each detection, highest score first.
        precision: (M,) precision up to each detection.
        objects: number of objects.
        interpolation: as for ``voc_ap``.
    """
    # The interpolated precision at a recall is at the first detection that reaches this recall. The 0 at
    # the end is for recalls that are not reached.
    interpolated = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if interpolation == "11-point":
        first = np.searchsorted(10 * cumulated, np.arange(11) * objects)
    else:
        # Each object found adds 1 / objects to the recall. So the area under the curve is the mean over
        # the objects of the precision at which each is found; 0 for the others.
        first = np.searchsorted(cumulated, np.arange(1, objects + 1))
    return interpolated[first].mean()
