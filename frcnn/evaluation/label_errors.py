"""Finds labels that are probably wrong: the detector contradicts them.

A detector that has learnt a class from many labels disagrees with the few that are wrong, also with
those it was trained on, unless it was trained for so long that it knows them by heart. Three
contradictions:

===============  ==========================================================================
swapped class    the classifier scores another class higher in the labelled box itself
shifted box      a detection lies beside a label of its class (0.1 <= IoU < 0.5) that no
                 detection of this class covers as surely
unlabelled       a detection lies on no label (IoU < 0.5), and covers no object that
                 another detection has found
===============  ==========================================================================

The labelled box is classified as if it were a proposal, so a swapped class is found also where no
proposal and no detection lies on the object. An exported file cannot classify given boxes: there a
detection that lies on a label (IoU >= 0.5) of another class counts instead.

The doubt about a label is the score of the contradiction minus the score of what agrees with the label
(the labelled class in the same box; the best detection that agrees): 1 is a sure contradiction. Each
label and each detection is named once, by its greatest doubt. A detection that agrees with some label
contradicts none. These are candidates for a person to look at, not proofs: the detector may be the one
that is wrong.

Ranking labels by the margin between their class and the best other one is the "normalized margin" of
Northcutt et al. 2021, "Confident Learning", section 3.2. Its thresholds per class are not used: with
them the list was shorter, but fewer planted faults were in it (docs/evaluation.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from frcnn.evaluation.voc_ap import ImageArrays, as_boxes, iou

SUSPICIONS = ("swapped class", "shifted box", "unlabelled")
SCORE_THRESHOLD = 0.5
MATCH_IOU, NEAR_IOU = 0.5, 0.1
SAME_PLACE_IOU = 0.3  # two detections that overlap by more show one object


@dataclasses.dataclass(frozen=True)
class LabelError:
    """A label that is probably wrong, or lacking.

    Attributes:
        kind: one of ``SUSPICIONS``.
        image: index of the image.
        object: index of the label in its image; None for "unlabelled".
        detection: index of the detection that contradicts it; None: the classifier does, in the
            labelled box.
        label: class that the detector sees there.
        score: of this class.
        doubt: in (0, 1].
    """

    kind: str
    image: int
    object: int | None
    detection: int | None
    label: int
    score: float
    doubt: float


def find_label_errors(
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    label_scores: Sequence[np.ndarray] | None = None,
    score_threshold: float = SCORE_THRESHOLD,
) -> tuple[LabelError, ...]:
    """Return the probable label errors of all images, the greatest doubt first.

    Args:
        detections, truths: one dict per image, as ``frcnn.evaluation.voc_ap`` takes them. ``difficult``
            labels count as labels.
        label_scores: per image (G, C) scores of its labelled boxes, background last, as
            ``frcnn.evaluation.evaluator.classify_labels`` returns them. None: they are not known.
        score_threshold: detections of a lower score contradict nothing.
    """
    errors: list[LabelError] = []
    for image, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        scores = None if label_scores is None else label_scores[image]
        errors += _in_image(image, found, truth, scores, score_threshold)
    return tuple(sorted(errors, key=lambda error: -error.doubt))


def listed(
    errors: Sequence[LabelError],
    names: Sequence[str],
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the errors for JSON: image, kind, doubt, the detection, and the label if there is one.

    A box is "box", four numbers, or "oriented", five.

    Where the classifier contradicts a label, "detection" is its class and score in the label's own box.

    Args:
        errors: of ``find_label_errors``.
        names: of the images.
        detections, truths: as of ``find_label_errors``.
        classes: names of the object classes.
    """
    rows = []
    for one in errors:
        found, truth = detections[one.image], truths[one.image]
        place = (
            found["boxes"][one.detection] if one.detection is not None else truth["boxes"][one.object]
        )
        row = {"image": names[one.image], "kind": one.kind, "doubt": one.doubt}
        row["detection"] = {"class": classes[one.label], "score": one.score} | _box(place)
        row["label"] = None
        if one.object is not None:
            place = truth["boxes"][one.object]
            row["label"] = {"class": classes[truth["labels"][one.object]]} | _box(place)
        rows.append(row)
    return rows


def _box(place):
    """Return a box for JSON, under the name of its kind."""
    values = np.asarray(place, "float64").tolist()
    return {"box" if len(values) == 4 else "oriented": values}


def _in_image(image, found, truth, label_scores, score_threshold):
    """Yield the ``LabelError`` of one image."""
    boxes, others = (as_boxes(one["boxes"]) for one in (found, truth))
    labels, true_labels = (np.asarray(one["labels"], int) for one in (found, truth))
    scores = np.asarray(found["scores"], "float64")
    overlaps, same = iou(boxes, others), labels[:, None] == true_labels
    agreeing = same & (overlaps >= MATCH_IOU)
    support = np.where(agreeing, scores[:, None], 0.0).max(axis=0, initial=0.0)  # of each label
    agrees, is_sure = agreeing.any(axis=1), scores >= score_threshold

    candidates: list[LabelError] = []
    unlabelled: list[LabelError] = []

    def suspect(kind, target, index, doubt):
        seen = (int(labels[index]), float(scores[index]))
        return LabelError(kind, image, target, index, *seen, float(doubt))

    for index in np.flatnonzero(is_sure & ~agrees).tolist():
        swapped = ~same[index] & (overlaps[index] >= MATCH_IOU)
        kinds = {"shifted box": same[index] & (overlaps[index] >= NEAR_IOU)}
        if label_scores is None:
            kinds["swapped class"] = swapped
        for kind, objects in kinds.items():
            doubts = scores[index] - support
            for target in np.flatnonzero(objects & (doubts > 0)).tolist():
                candidates.append(suspect(kind, target, index, doubts[target]))
        if not swapped.any():
            unlabelled.append(suspect("unlabelled", None, index, scores[index]))
    if label_scores is not None:
        candidates += _swapped(image, true_labels, label_scores)
    candidates.sort(key=lambda one: -one.doubt)
    unlabelled.sort(key=lambda one: -one.doubt)

    # Detections that agree with a label, or have been named: others on their places show no new object.
    shown = agrees & is_sure
    together = iou(boxes, boxes) > SAME_PLACE_IOU
    used: set[int] = set()
    done: set[int] = set()
    for one in candidates + unlabelled:
        if one.detection in done or one.object in used:
            continue
        if one.object is None and together[one.detection, shown].any():
            continue
        if one.detection is None:  # the detections on a swapped label show its object
            shown |= is_sure & (overlaps[:, one.object] >= MATCH_IOU)
        else:
            done.add(one.detection)
            shown[one.detection] = True
        if one.object is not None:
            used.add(one.object)
        yield one


def _swapped(image: int, labels: np.ndarray, scores: np.ndarray) -> Iterator[LabelError]:
    """Yield the labels of an image whose class scores lower than another one in the labelled box.

    Args:
        image: its index.
        labels: (G,) its labels.
        scores: (G, C) of the classifier, background last.
    """
    for index, (label, row) in enumerate(zip(labels, scores)):
        rival = int(np.argmax(row[:-1]))
        doubt = float(row[rival] - row[label])
        if doubt > 0:
            yield LabelError("swapped class", image, index, None, rival, float(row[rival]), doubt)
