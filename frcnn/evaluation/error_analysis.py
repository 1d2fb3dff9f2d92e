"""Finds the kind of each mistake of a detector, and computes what mAP would gain without each kind.

The kinds are those of TIDE (Bolya et al. 2020, "A General Toolbox for Identifying Object Detection
Errors", section 2.2). A false detection is compared with the objects of its image. The first line that
is true gives its kind:

=============  ============================================================================
loose box      0.1 <= IoU < 0.5 with an object of its class
wrong class    IoU >= 0.5 with an object of another class
duplicate      IoU >= 0.5 with an object that a detection of a higher score has found
background     IoU <= 0.1 with every object
class and box  all others: 0.1 < IoU < 0.5 with an object of another class
missed         an object that is not found, and to which no "wrong class" or "loose box" belongs
=============  ============================================================================

All mistakes of a kind are corrected as in TIDE's section 2.3. A detection with a wrong class or a loose
box becomes right if its object is not found yet; otherwise it is removed. Detections of the other kinds
are removed. A missed object no longer counts. Then AP is computed again. The gains do not add up,
because one mistake often hides another.

Matching, ``difficult`` objects and AP are those of ``frcnn.evaluation.voc_ap`` with the same arguments,
so ``ErrorAnalysis.mean_ap`` is its mAP. TIDE's own program matches as COCO does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from frcnn.evaluation.ranked_ap import RankedClass, mean_ap
from frcnn.evaluation.voc_ap import ImageArrays, as_boxes, iou

KINDS = ("missed", "background", "wrong class", "loose box", "class and box", "duplicate")
BACKGROUND_IOU = 0.1


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One false detection, or one missed object.

    Attributes:
        kind: one of ``KINDS``.
        image: index of the image.
        label: class of the detection, or of the missed object.
        detection: index of the detection in its image; None for a missed object.
        object: index in its image of the object to which the detection belongs, or of the missed object;
            None for the kinds "background" and "class and box".
        score: score of the detection; 0 for a missed object.
        iou: IoU of the detection with ``object``, or the highest one with any object; 0 for a missed
            object.
        cost: gain of mAP without this mistake.
    """

    kind: str
    image: int
    label: int
    detection: int | None
    object: int | None
    score: float
    iou: float
    cost: float


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorAnalysis:
    """Result of ``analyse_errors``.

    Attributes:
        mean_ap: mAP with all mistakes, that of ``voc_ap``.
        gains: {kind: gain of mAP without all mistakes of the kind}.
        counts: {kind: number of mistakes}.
        mistakes: all mistakes, those with the highest cost first.
    """

    mean_ap: float
    gains: dict[str, float]
    counts: dict[str, int]
    mistakes: tuple[Mistake, ...]


def analyse_errors(
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    num_classes: int,
    iou_threshold: float = 0.5,
    interpolation: str = "all-point",
) -> ErrorAnalysis:
    """Find the kinds of all mistakes, and compute their costs.

    Args:
        detections, truths: one dict per image, as for ``voc_ap``.
        num_classes: number of object classes, without background.
        iou_threshold: above 0.1; 0.5 in the paper and in the table above.
        interpolation: as for ``voc_ap``.

    Raises:
        ValueError: the threshold is not above 0.1.

    Example:
        >>> errors = analyse_errors(detections, truths, num_classes=3)
        >>> max(errors.gains, key=errors.gains.get)
        'missed'
    """
    if not BACKGROUND_IOU < iou_threshold <= 1:
        raise ValueError(f"iou_threshold must be above {BACKGROUND_IOU} and at most 1: {iou_threshold}")
    rows: list[_Row] = []
    missed: list[tuple[int, int, int]] = []
    objects = np.zeros(num_classes, int)
    for image, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        own_rows, own_missed = _class_image(image, found, truth, iou_threshold)
        rows += own_rows
        missed += own_missed
        counted = ~np.asarray(truth["difficult"], bool)
        objects += np.bincount(np.asarray(truth["labels"], int)[counted], minlength=num_classes)
    ranked = sorted(rows, key=lambda row: -row.score)  # stable: by image, then within the image
    places = [0] * num_classes
    for row in ranked:
        places[row.label] += 1
        row.place = places[row.label]
    classes = _rank([(row.label, row.score, row.kind is None) for row in ranked], objects, interpolation)
    base = mean_ap(classes)
    mistakes = [_mistake(row, classes, base) for row in ranked if row.kind]
    removed = {
        label: mean_ap(classes, {label: classes[label].without_an_object()}) for *_, label in missed
    }
    for image, index, label in missed:
        cost = removed[label] - base
        mistakes.append(Mistake("missed", image, label, None, index, 0.0, 0.0, cost))
    counts = {kind: sum(one.kind == kind for one in mistakes) for kind in KINDS}
    gains = {kind: _without(kind, ranked, missed, objects, interpolation) - base for kind in KINDS}
    mistakes.sort(key=lambda one: (-one.cost, -one.score))
    return ErrorAnalysis(base, gains, counts, tuple(mistakes))


@dataclasses.dataclass(eq=False)
class _Row:
    """A detection that counts. It is right if ``kind`` is None.

    ``fixed_label`` is its label after the mistake is corrected; None: it is removed. ``place`` is its
    rank by score in its class, from 1.
    """

    image: int
    detection: int
    label: int
    score: float
    kind: str | None
    object: int | None
    iou: float
    fixed_label: int | None = None
    place: int = 0


def _class_image(image, found, truth, threshold):
    """Return a ``_Row`` for each detection that counts, and (image, object, label) of missed objects."""
    boxes, others = (as_boxes(one["boxes"]) for one in (found, truth))
    labels, true_labels = (np.asarray(one["labels"], int) for one in (found, truth))
    difficult = np.asarray(truth["difficult"], bool)
    scores = np.asarray(found["scores"], "float64")
    overlaps = iou(boxes, others)
    # A column of zeros for "no object", so that images without objects are not a special case.
    overlaps = np.concatenate([overlaps, np.zeros((len(boxes), 1))], axis=1)
    same = np.append(true_labels, -1) == labels[:, None]
    own, other = np.where(same, overlaps, 0.0), np.where(same, 0.0, overlaps)
    own_object, other_object = own.argmax(axis=1), other.argmax(axis=1)
    own_iou, other_iou = own.max(axis=1), other.max(axis=1)
    finders: dict[int, int] = {}
    for index in np.argsort(-scores, kind="stable").tolist():
        if own_iou[index] >= threshold:
            finders.setdefault(int(own_object[index]), index)
    rows, meant = [], set()
    for index in range(len(boxes)):
        matches = own_iou[index] >= threshold
        if matches and difficult[own_object[index]]:
            continue
        target: int | None = int(own_object[index])
        if matches and finders[target] == index:
            kind = None
        elif BACKGROUND_IOU <= own_iou[index] < threshold:
            kind = "loose box"
        elif other_iou[index] >= threshold:
            kind, target = "wrong class", int(other_object[index])
        elif matches:
            kind = "duplicate"
        else:
            is_background = max(own_iou[index], other_iou[index]) <= BACKGROUND_IOU
            kind, target = "background" if is_background else "class and box", None
        row = _Row(image, index, int(labels[index]), float(scores[index]), kind, target, 0.0)
        row.iou = float(
            max(own_iou[index], other_iou[index]) if target is None else overlaps[index, target]
        )
        if kind in ("wrong class", "loose box"):
            meant.add(target)
            if target not in finders and not difficult[target]:
                row.fixed_label = int(true_labels[target])
        rows.append(row)
    missed = [
        (image, index, int(label))
        for index, label in enumerate(true_labels)
        if not difficult[index] and index not in finders and index not in meant
    ]
    return rows, missed


def _mistake(row, classes, base):
    """Return the ``Mistake`` of a false detection."""
    own = classes[row.label]
    if row.fixed_label is None:
        changed = {row.label: own.without(row.place)}
    elif row.fixed_label == row.label:
        changed = {row.label: own.with_right(row.place)}
    else:
        other = classes[row.fixed_label].with_another(row.score)
        changed = {row.label: own.without(row.place), row.fixed_label: other}
    cost = mean_ap(classes, changed) - base
    detection, target = row.detection, row.object
    return Mistake(row.kind, row.image, row.label, detection, target, row.score, row.iou, cost)


def _rank(entries, objects, interpolation):
    """Return the ``RankedClass`` of each class from (label, score, is right), best first."""
    columns = [([], []) for _ in objects]
    for label, score, is_right in entries:
        columns[label][0].append(score)
        columns[label][1].append(is_right)
    return [RankedClass(*column, int(count), interpolation) for column, count in zip(columns, objects)]


def _without(kind, ranked, missed, objects, interpolation):
    """Return the mAP without all mistakes of a kind."""
    left = objects.copy()
    if kind == "missed":
        np.subtract.at(left, [label for *_, label in missed], 1)
    entries, fixed = [], set()
    for row in ranked:  # the detection with the highest score becomes right, the others are removed
        if row.kind != kind:
            entries.append((row.label, row.score, row.kind is None))
        elif row.fixed_label is not None and (row.image, row.object) not in fixed:
            fixed.add((row.image, row.object))
            entries.append((row.fixed_label, row.score, True))
    return mean_ap(_rank(entries, left, interpolation))


def format_table(errors: ErrorAnalysis) -> str:
    """Format the kinds as a table, the highest gain first, without a newline at the end."""
    lines = [f"{'mistake':13}  {'number':>8}  {'mAP without':>11}  {'gain':>7}"]
    for kind in sorted(KINDS, key=lambda kind: -errors.gains[kind]):
        gain = errors.gains[kind]
        total = f"{errors.mean_ap + gain:.4f}" if np.isfinite(gain) else "-"
        shown = f"{gain:+.4f}" if np.isfinite(gain) else "-"
        lines.append(f"{kind:13}  {errors.counts[kind]:8d}  {total:>11}  {shown:>7}")
    return "\n".join(lines)
