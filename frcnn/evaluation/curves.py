"""Curves and tables about detections: precision and F1 by score, confusion of classes, calibration.

The curves are made from the detections that ``frcnn.evaluation.voc_ap`` has counted, so they agree with
its AP. ``match_boxes`` also compares boxes of different classes, for the confusion matrix and for
pictures.

C: object classes without background, T: score thresholds, M: detections, G: objects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from frcnn.evaluation.voc_ap import ImageArrays, VocAp, iou

UNMATCHED, IGNORED = -1, -2


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreCurves:
    """Counts at score thresholds: a detection counts if its score is the threshold or more.

    Attributes:
        thresholds: (T,) rising from 0 to 1.
        true_positives: (C, T) int, objects found.
        false_positives: (C, T) int, wrong detections, duplicates included.
        objects: (C,) int, objects that are not difficult.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    objects: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(C, T) share of the detections that are right; 1 where there is no detection."""
        found = self.true_positives + self.false_positives
        return np.divide(self.true_positives, found, out=np.ones(found.shape), where=found > 0)

    @property
    def recall(self) -> np.ndarray:
        """(C, T) share of the objects that are found; NaN for a class without objects."""
        objects = np.where(self.objects > 0, self.objects, np.nan)
        return self.true_positives / objects[:, None]

    @property
    def f1(self) -> np.ndarray:
        """(C, T) harmonic mean of precision and recall; NaN for a class without objects."""
        objects = np.where(self.objects > 0, self.objects, np.nan)
        return 2 * self.true_positives / (self.true_positives + self.false_positives + objects[:, None])

    @property
    def mean_f1(self) -> np.ndarray:
        """(T,) mean of ``f1`` over the classes with objects; NaN if there are none."""
        return mean_of_classes(self.f1)

    def best(self, label: int | None = None) -> tuple[float, float]:
        """Return the score threshold with the highest F1, and this F1; (NaN, NaN) without objects.

        Of equal values the lowest threshold counts.

        Args:
            label: label of a class; None: the mean over the classes.
        """
        f1 = self.mean_f1 if label is None else self.f1[label]
        if np.isnan(f1).any():
            return float("nan"), float("nan")
        return float(self.thresholds[f1.argmax()]), float(f1.max())


def score_curves(result: VocAp, num_thresholds: int = 101) -> ScoreCurves:
    """Count right and wrong detections at equally spaced score thresholds.

    Args:
        result: result of ``voc_ap``.
        num_thresholds: T, at least 2.

    Example:
        >>> curves = score_curves(voc_ap(detections, truths, num_classes))
        >>> threshold, f1 = curves.best()
    """
    thresholds = np.linspace(0.0, 1.0, num_thresholds)
    right = [_count_from(scores[hits], thresholds) for scores, hits in zip(result.scores, result.hits)]
    every = [_count_from(scores, thresholds) for scores in result.scores]
    shape = len(result.objects), num_thresholds
    true_positives = np.reshape(right, shape).astype(int)
    wrong = np.reshape(every, shape).astype(int) - true_positives
    return ScoreCurves(thresholds, true_positives, wrong, result.objects)


def mean_of_classes(values: np.ndarray) -> np.ndarray:
    """Return the (T,) mean of (C, T) values over the classes that have a number; NaN without any."""
    known = values[~np.isnan(values).any(axis=1)]
    return known.mean(axis=0) if len(known) else np.full(values.shape[1], np.nan)


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """The share of right detections by score. For a calibrated detector this share is the score itself.

    Attributes:
        edges: (K + 1,) edges of the K bins of the score, from 0 to 1.
        counts: (K,) int, number of detections in each bin.
        scores: (K,) mean score of the detections in each bin; NaN in an empty bin.
        precision: (K,) share of right detections in each bin; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    scores: np.ndarray
    precision: np.ndarray

    @property
    def error(self) -> float:
        """Mean |precision - score| over the detections; NaN without any.

        The expected calibration error of Guo et al. 2017, section 2.
        """
        gaps = np.nan_to_num(np.abs(self.precision - self.scores))
        total = self.counts.sum()
        return float((gaps * self.counts).sum() / total) if total else float("nan")


def calibration(result: VocAp, bins: int = 10) -> Calibration:
    """Compare the scores of the detections of all classes with the share of right ones.

    Args:
        result: result of ``voc_ap``.
        bins: K; a score on an edge belongs to the bin above it.
    """
    scores = np.concatenate([np.zeros(0), *result.scores])
    hits = np.concatenate([np.zeros(0, bool), *result.hits])
    edges = np.linspace(0.0, 1.0, bins + 1)
    index = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    shares = np.where(counts > 0, counts, np.nan)
    means = np.bincount(index, scores, bins) / shares
    return Calibration(edges, counts, means, np.bincount(index, hits, bins) / shares)


def match_boxes(found: ImageArrays, truth: ImageArrays, iou_threshold: float = 0.5) -> np.ndarray:
    """Pair the detections of one image with its objects, each with at most one, of any class.

    Pairs of the same class are made first, and among these the pairs with a higher IoU. Unpaired
    detections that overlap a difficult object are ignored.

    Args:
        found: ``boxes`` (M, 4), or (M, 5) oriented ones, ``labels`` (M,).
        truth: ``boxes`` of the same kind, ``labels`` (G,), ``difficult`` (G,).
        iou_threshold: least IoU of a pair.

    Returns:
        (M,) int, index of the object in ``truth``; ``UNMATCHED``; or ``IGNORED``.
    """
    boxes, others = (np.asarray(one["boxes"], "float64") for one in (found, truth))
    matched = np.full(len(boxes), UNMATCHED)
    if not len(boxes) or not len(others):
        return matched
    overlaps, difficult = iou(boxes, others), np.asarray(truth["difficult"], bool)
    same = np.asarray(found["labels"])[:, None] == np.asarray(truth["labels"])
    rows, columns = np.nonzero((overlaps >= iou_threshold) & ~difficult)
    order = np.lexsort((-overlaps[rows, columns], ~same[rows, columns]))
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if matched[row] == UNMATCHED and column not in taken:
            matched[row] = column
            taken.add(column)
    near_difficult = ((overlaps >= iou_threshold) & difficult).any(axis=1)
    matched[(matched == UNMATCHED) & near_difficult] = IGNORED
    return matched


def confusion_matrix(
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    num_classes: int,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Count the objects by true class and detected class, with the pairs of ``match_boxes``.

    Args:
        detections, truths: one dict per image, as for ``voc_ap``.
        num_classes: C.
        score_threshold: detections with a lower score do not count.
        iou_threshold: least IoU of a pair.

    Returns:
        (C + 1, C + 1) int, rows: true class, columns: detected class. The last row, background, counts
        the detections without an object, and the last column the objects without a detection.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), int)
    for found, truth in zip(detections, truths, strict=True):
        found = above(found, score_threshold)
        matched = match_boxes(found, truth, iou_threshold)
        true_labels = np.append(np.asarray(truth["labels"], int), num_classes)  # index -1: background
        counts = matched != IGNORED
        np.add.at(matrix, (true_labels[matched[counts]], np.asarray(found["labels"], int)[counts]), 1)
        is_missed = ~np.asarray(truth["difficult"], bool)
        is_missed[matched[matched >= 0]] = False
        np.add.at(matrix, (true_labels[:-1][is_missed], num_classes), 1)
    return matrix


def above(found: ImageArrays, score_threshold: float) -> dict[str, np.ndarray]:
    """Return the detections of one image with a score of the threshold or more."""
    chosen = np.asarray(found["scores"]) >= score_threshold
    return {name: np.asarray(found[name])[chosen] for name in ("boxes", "scores", "labels")}


def _count_from(scores, thresholds):
    """Return, for each threshold, the number of scores (M,), in any order, that are not below it."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
