"""Finds labels that are probably wrong: confident detections that contradict them.

A detector that has learnt a class from many labels disagrees with the few that are wrong, also with
those it was trained on, unless it was trained for so long that it knows them by heart. Three
contradictions:

===============  ==========================================================================
swapped class    the detection lies on a label (IoU >= 0.5) of another class
shifted box      the detection lies beside a label of its class (0.1 <= IoU < 0.5) that no
                 detection of this class covers as surely
unlabelled       the detection lies on no label (IoU < 0.5), and covers no object that
                 another detection has found
===============  ==========================================================================

The doubt about a label is the detection's score, minus the highest score of a detection that agrees with
the label: 1 is a sure contradiction. Each label and each detection is named once, by its greatest doubt.
A detection that agrees with some label contradicts none. These are candidates for a person to look at,
not proofs: the detector may be the one that is wrong. The comparison of predictions with labels follows
Northcutt et al. 2021, "Confident Learning", in its idea, not in its thresholds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from frcnn.evaluation.voc_ap import ImageArrays, iou

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
        detection: index of the detection that contradicts it.
        label: class of the detection.
        score: of the detection.
        doubt: in (0, 1].
    """

    kind: str
    image: int
    object: int | None
    detection: int
    label: int
    score: float
    doubt: float


def find_label_errors(
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    score_threshold: float = SCORE_THRESHOLD,
) -> tuple[LabelError, ...]:
    """Return the probable label errors of all images, the greatest doubt first.

    Args:
        detections, truths: one dict per image, as ``frcnn.evaluation.voc_ap`` takes them. ``difficult``
            labels count as labels.
        score_threshold: detections of a lower score contradict nothing.
    """
    errors: list[LabelError] = []
    for image, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        errors += _in_image(image, found, truth, score_threshold)
    return tuple(sorted(errors, key=lambda error: -error.doubt))


def listed(
    errors: Sequence[LabelError],
    names: Sequence[str],
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    classes: Sequence[str],
) -> list[dict[str, Any]]:
    """Return the errors for JSON: image, kind, doubt, the detection, and the label if there is one.

    Args:
        errors: of ``find_label_errors``.
        names: of the images.
        detections, truths: as of ``find_label_errors``.
        classes: names of the object classes.
    """
    rows = []
    for one in errors:
        found, truth = detections[one.image], truths[one.image]
        box = np.asarray(found["boxes"][one.detection], "float64").tolist()
        row = {"image": names[one.image], "kind": one.kind, "doubt": one.doubt}
        row["detection"] = {"class": classes[one.label], "score": one.score, "box": box}
        row["label"] = None
        if one.object is not None:
            box = np.asarray(truth["boxes"][one.object], "float64").tolist()
            row["label"] = {"class": classes[truth["labels"][one.object]], "box": box}
        rows.append(row)
    return rows


def _in_image(image, found, truth, score_threshold):
    """Yield the ``LabelError`` of one image."""
    boxes, others = (np.asarray(one["boxes"], "float64").reshape(-1, 4) for one in (found, truth))
    labels, true_labels = (np.asarray(one["labels"], int) for one in (found, truth))
    scores = np.asarray(found["scores"], "float64")
    overlaps, same = iou(boxes, others), labels[:, None] == true_labels
    agreeing = same & (overlaps >= MATCH_IOU)
    support = np.where(agreeing, scores[:, None], 0.0).max(axis=0, initial=0.0)  # of each label
    agrees, is_sure = agreeing.any(axis=1), scores >= score_threshold
    candidates, unlabelled = [], []
    for index in np.flatnonzero(is_sure & ~agrees).tolist():
        swapped = ~same[index] & (overlaps[index] >= MATCH_IOU)
        shifted = same[index] & (overlaps[index] >= NEAR_IOU)
        for kind, objects in zip(SUSPICIONS, (swapped, shifted)):
            doubts = scores[index] - support
            candidates += [
                (kind, int(one), index, float(doubts[one]))
                for one in np.flatnonzero(objects & (doubts > 0))
            ]
        if not swapped.any():
            unlabelled.append(("unlabelled", None, index, float(scores[index])))
    candidates.sort(key=lambda one: -one[3])
    unlabelled.sort(key=lambda one: -one[3])
    # Detections that agree with a label, or have been named: others on their places show no new object.
    shown = agrees & is_sure
    together = iou(boxes, boxes) > SAME_PLACE_IOU
    used: set[int] = set()
    done: set[int] = set()
    for kind, target, index, doubt in candidates + unlabelled:
        if index in done or target in used or (target is None and together[index, shown].any()):
            continue
        done.add(index)
        shown[index] = True
        if target is not None:
            used.add(target)
        yield LabelError(kind, image, target, index, int(labels[index]), float(scores[index]), doubt)
