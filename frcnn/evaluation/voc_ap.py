"""VOC average precision: how well a detector ranks its boxes, one number a class.

Follows ``VOCevaldet.m`` of the VOC development kit (Everingham et al. 2010, section 4.2), where
other re-implementations part from it:

- A detection is held against the object of its class that it overlaps **most**, even if a
  better-scored detection has found that object already; then it is a false positive. (COCO goes on
  to the best object still free.)
- It matches at IoU **>=** the threshold. (py-faster-rcnn asks for ``>``.)
- One that matches a ``difficult`` object counts neither way, however many there are of them;
  difficult objects are not counted as objects.

Boxes are half-open, so the kit's ``+ 1`` on widths and heights is gone: the reader has turned the
kit's inclusive corners into ours, and the overlaps are the same.

Plain numpy and float64 throughout: an overlap of exactly the threshold must not depend on rounding,
and nothing here needs an accelerator.
"""

import dataclasses

import numpy as np

INTERPOLATIONS = ("all-point", "11-point")


@dataclasses.dataclass(frozen=True, eq=False)
class VocAp:
    """What ``voc_ap`` found. C is the number of object classes.

    Attributes:
        ap: (C,) float64 in [0, 1]; NaN for a class without objects: there is nothing to find.
        mean_ap: mean of ``ap`` over the classes that have objects; NaN if none has.
        objects: (C,) int, objects that are not difficult.
        detections: (C,) int, detections, those on difficult objects included.
        precision: C arrays: precision after each detection that counts, best score first.
        recall: C arrays as long: recall after the same detections; NaN without objects.
        iou_threshold: as given.
        interpolation: as given.
    """

    ap: np.ndarray
    mean_ap: float
    objects: np.ndarray
    detections: np.ndarray
    precision: tuple[np.ndarray, ...]
    recall: tuple[np.ndarray, ...]
    iou_threshold: float
    interpolation: str


def voc_ap(detections, ground_truths, num_classes, iou_threshold=0.5, interpolation="all-point"):
    """Return the average precision of each class and their mean.

    Equal scores keep the order in which they were given: by image, then within the image.

    Args:
        detections: a dict an image: ``boxes`` (M, 4) half-open pixels, ``scores`` (M,), ``labels``
            (M,) int in [0, num_classes). M may be 0.
        ground_truths: a dict an image, in the same order: ``boxes`` (G, 4), ``labels`` (G,),
            ``difficult`` (G,) bool. G may be 0.
        num_classes: object classes, background not among them.
        iou_threshold: in (0, 1]; overlap from which a detection matches an object.
        interpolation: ``"all-point"``, the area under the curve (VOC 2010 and after), or
            ``"11-point"``, the mean of the precision at recall 0, 0.1, ..., 1 (VOC 2007).

    Returns:
        ``VocAp``. Where there are objects and no detections, the AP is 0.

    Raises:
        ValueError: unequal numbers of images, arrays that do not fit each other, a label outside
            the classes, a score that is not a number, or a bad threshold or interpolation.
    """
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {INTERPOLATIONS}, not {interpolation!r}")
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be in (0, 1], not {iou_threshold}")
    found = _gather(detections, ("boxes", "scores", "labels"), num_classes, "detections")
    truth = _gather(ground_truths, ("boxes", "labels", "difficult"), num_classes, "ground_truths")
    if len(found["sizes"]) != len(truth["sizes"]):
        raise ValueError(
            f"{len(found['sizes'])} images in detections, {len(truth['sizes'])} in ground_truths"
        )
    if np.isnan(found["scores"]).any():
        raise ValueError("a detection's score is NaN: the model's weights are likely to be too")

    matched = _most_overlapped(found, truth, iou_threshold)
    difficult = truth["difficult"].astype(bool)
    objects = np.bincount(truth["labels"][~difficult], minlength=num_classes)
    ap, precision, recall = np.full(num_classes, np.nan), [], []
    for label in range(num_classes):
        chosen = np.flatnonzero(found["labels"] == label)
        chosen = chosen[np.argsort(-found["scores"][chosen], kind="stable")]
        hits = _true_positives(matched[chosen], difficult)
        cumulated = np.cumsum(hits)
        precision.append(cumulated / np.arange(1, len(hits) + 1))
        recall.append(cumulated / objects[label] if objects[label] else cumulated * np.nan)
        if objects[label]:
            ap[label] = _average_precision(cumulated, precision[-1], objects[label], interpolation)
    return VocAp(
        ap=ap,
        mean_ap=float(ap[objects > 0].mean()) if objects.any() else float("nan"),
        objects=objects,
        detections=np.bincount(found["labels"], minlength=num_classes),
        precision=tuple(precision),
        recall=tuple(recall),
        iou_threshold=float(iou_threshold),
        interpolation=interpolation,
    )


def format_table(result, class_names):
    """Return the text of a table: a line a class, and the mean below.

    Args:
        result: a ``VocAp``.
        class_names: one a class, in the order of the labels.

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
    """Join the arrays of all images, a dict an image, key by key; ``sizes`` says how many each."""
    images = [
        _checked(image, keys, num_classes, f"{what}[{index}]") for index, image in enumerate(images)
    ]
    # The empty array is float64, which makes the result so, and stands in where there is no image.
    joined = {
        key: np.concatenate([np.zeros((0, 4) if key == "boxes" else 0), *(i[key] for i in images)])
        for key in keys
    }
    joined["labels"] = joined["labels"].astype(int)
    joined["sizes"] = np.array([len(image["labels"]) for image in images], int)
    return joined


def _checked(image, keys, num_classes, where):
    """Return the arrays of one image; ValueError if they cannot be right."""
    missing = [key for key in keys if key not in image]
    if missing:
        raise ValueError(f"{where} lacks {missing}: it has {sorted(image)}")
    arrays = {key: np.asarray(image[key]) for key in keys}
    if not arrays["boxes"].size:  # [] is as good as an array of shape (0, 4)
        arrays["boxes"] = arrays["boxes"].reshape(0, 4)
    count = len(arrays["boxes"])
    shapes = {key: array.shape for key, array in arrays.items()}
    if shapes != {key: (count, 4) if key == "boxes" else (count,) for key in keys}:
        raise ValueError(f"{where} has arrays that do not fit each other: {shapes}")
    labels = arrays["labels"]
    if count and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(
            f"{where} has labels {labels.min()} to {labels.max()}: "
            f"they must be in [0, {num_classes}), background not among them"
        )
    return arrays


def _most_overlapped(found, truth, iou_threshold):
    """Return for each detection the object of its class that it overlaps most, or -1.

    -1 stands for an overlap below the threshold. Objects are numbered through all images. Of equal
    overlaps the first object's counts, as in the kit.
    """
    matched = np.full(len(found["boxes"]), -1)
    last_found, last_truth = np.cumsum(found["sizes"]), np.cumsum(truth["sizes"])
    for image in np.flatnonzero((found["sizes"] > 0) & (truth["sizes"] > 0)):
        rows = slice(last_found[image] - found["sizes"][image], last_found[image])
        columns = slice(last_truth[image] - truth["sizes"][image], last_truth[image])
        overlaps = _iou(found["boxes"][rows], truth["boxes"][columns])
        overlaps *= found["labels"][rows, None] == truth["labels"][columns]
        best = overlaps.argmax(axis=1)
        enough = overlaps.max(axis=1) >= iou_threshold
        matched[rows] = np.where(enough, columns.start + best, -1)
    return matched


def _iou(boxes, others):
    """Return the (M, G) intersection over union of (M, 4) and (G, 4) boxes; 0 for empty ones."""
    top_left = np.maximum(boxes[:, None, :2], others[:, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], others[:, 2:])
    intersection = np.maximum(bottom_right - top_left, 0).prod(axis=-1)
    area, other_area = (np.maximum(b[:, 2:] - b[:, :2], 0).prod(axis=-1) for b in (boxes, others))
    union = area[:, None] + other_area - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _true_positives(matched, difficult):
    """Return whether each detection that counts is right: the first to match its object.

    Because a detection never goes on to its second-best object, this needs no loop.

    Args:
        matched: (M,) object or -1 of one class' detections, best score first.
        difficult: (objects,) bool.

    Returns:
        (at most M,) bool, without the detections that match a difficult object.
    """
    counts = ~np.append(difficult, False)[matched]  # the appended value answers for -1
    matched = matched[counts]
    first = np.zeros(len(matched), bool)
    first[np.unique(matched, return_index=True)[1]] = True
    return first & (matched >= 0)


def _average_precision(cumulated, precision, objects, interpolation):
    """Return the AP of one class from its (M,) cumulated true positives and precisions.

    The interpolated precision at a recall is the best precision at that recall or a higher one.
    Recalls are compared as whole numbers of objects: 3 of 10 objects is a recall of 0.3, which
    floating point has as less than 3 * 0.1.
    """
    # After this, the entry at which a recall is first reached holds its interpolated precision; the
    # 0 at the end stands for the recalls never reached.
    interpolated = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if interpolation == "11-point":
        first = np.searchsorted(10 * cumulated, np.arange(11) * objects)
    else:
        # The recall grows by 1 / objects at each object found, so the area under the curve is the
        # mean, over the objects, of the precision at the recall that finding them gives.
        first = np.searchsorted(cumulated, np.arange(1, objects + 1))
    return interpolated[first].mean()
