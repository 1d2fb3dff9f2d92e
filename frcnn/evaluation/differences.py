"""Images on which detectors differ: the right, missed and false detections of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from frcnn.evaluation.curves import IGNORED, UNMATCHED, above, match_boxes
from frcnn.evaluation.voc_ap import ImageArrays

SCORE_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """The result of one detector on one image.

    Attributes:
        found: the detections with a score of the threshold or more.
        is_right: (M,) bool, whether each has the class and the box of an object. Detections of
            ``difficult`` objects count as right.
        is_missed: (G,) bool, whether each object is missed.
    """

    found: dict[str, np.ndarray]
    is_right: np.ndarray
    is_missed: np.ndarray

    @property
    def mistakes(self) -> int:
        """Number of missed objects and false detections."""
        return int(self.is_missed.sum() + (~self.is_right).sum())

    def __str__(self) -> str:
        right, missed, false = self.is_right.sum(), self.is_missed.sum(), (~self.is_right).sum()
        return f"{right} right, {missed} missed, {false} false"


def outcome(
    found: ImageArrays, truth: ImageArrays, score_threshold: float, iou_threshold: float
) -> Outcome:
    """Compare the detections of one image with its objects, by ``match_boxes``."""
    found = above(found, score_threshold)
    matched = match_boxes(found, truth, iou_threshold)
    # Index UNMATCHED takes the value at the end.
    same = np.asarray(found["labels"]) == np.append(np.asarray(truth["labels"], int), -1)[matched]
    is_right = (matched == IGNORED) | ((matched != UNMATCHED) & same)
    is_missed = ~np.asarray(truth["difficult"], bool)
    is_missed[matched[is_right & (matched >= 0)]] = False
    return Outcome(found, is_right, is_missed)


def differing_images(
    detections: Sequence[Sequence[ImageArrays]],
    truths: Sequence[ImageArrays],
    score_threshold: float = SCORE_THRESHOLD,
    iou_threshold: float = 0.5,
) -> list[tuple[int, tuple[Outcome, ...]]]:
    """Return the images on which the detectors make different numbers of mistakes.

    Args:
        detections: for each detector, one dict per image, as for ``voc_ap``.
        truths: one dict per image.
        score_threshold: detections with a lower score do not count.
        iou_threshold: least IoU of a detection and its object.

    Returns:
        [(index of the image, outcome of each detector)], the largest difference first.
    """
    rows = []
    for image, truth in enumerate(truths):
        outcomes = tuple(
            outcome(of_detector[image], truth, score_threshold, iou_threshold)
            for of_detector in detections
        )
        mistakes = [one.mistakes for one in outcomes]
        if max(mistakes) > min(mistakes):
            rows.append((max(mistakes) - min(mistakes), image, outcomes))
    rows.sort(key=lambda row: -row[0])
    return [(image, outcomes) for _, image, outcomes in rows]
