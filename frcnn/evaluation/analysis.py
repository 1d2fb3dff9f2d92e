"""The analysis of detections that ``frcnn evaluate`` shows besides the AP, computed once.

The console's tables, ``--json`` and the page of ``--report`` use the same ``Analysis``, so that their
numbers are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from frcnn.data import oriented
from frcnn.evaluation import curves, error_analysis, label_errors
from frcnn.evaluation.voc_ap import ImageArrays, VocAp, as_boxes, iou, voc_ap

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))  # those of COCO
SIZES = ("small", "medium", "large")
# COCO's bounds of an object's area, square pixels of the file: small below 32 x 32, large from 96 x 96.
AREA_BOUNDS = (0.0, 32.0**2, 96.0**2, np.inf)
CONFUSION_SCORE = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
    """Result of ``analyse``. C is the number of object classes, without background.

    Attributes:
        voc: VOC AP at ``iou_threshold``.
        by_iou: (10,) mAP at each of ``IOU_THRESHOLDS``.
        by_size: (3, C + 1) AP of each class, and the mean, for the objects of each of ``SIZES``.
        by_score: precision, recall and F1 by score threshold.
        calibration: calibration of the scores.
        confusion: (C + 1, C + 1) confusion matrix of detections with a score of 0.5 or more, background
            last.
        errors: the mistakes, and what mAP would gain without them.
        label_errors: probable label errors, the greatest doubt first.
    """

    voc: VocAp
    by_iou: np.ndarray
    by_size: np.ndarray
    by_score: curves.ScoreCurves
    calibration: curves.Calibration
    confusion: np.ndarray
    errors: error_analysis.ErrorAnalysis
    label_errors: tuple[label_errors.LabelError, ...]

    def values(self) -> dict[str, Any]:
        """Return the numbers for JSON; NaN is None."""
        threshold, f1 = self.by_score.best()
        return {
            "mAP": number(self.voc.mean_ap),
            "iou_threshold": self.voc.iou_threshold,
            "interpolation": self.voc.interpolation,
            "mAP_by_iou": {f"{t:.2f}": number(ap) for t, ap in zip(IOU_THRESHOLDS, self.by_iou)},
            "mAP_by_size": {size: number(row[-1]) for size, row in zip(SIZES, self.by_size)},
            "best_f1": {"score_threshold": number(threshold), "f1": number(f1)},
            "calibration_error": number(self.calibration.error),
            "confusion": self.confusion.tolist(),
            "errors": {
                kind: {"number": self.errors.counts[kind], "gain": number(self.errors.gains[kind])}
                for kind in error_analysis.KINDS
            },
            "label_errors": {
                kind: {"number": len(doubts), "doubt": sum(doubts)}
                for kind, doubts in self.doubts().items()
            },
        }

    def doubts(self) -> dict[str, list[float]]:
        """Return {kind: doubts of its probable label errors}, the kind with the largest sum first.

        Kinds are not ordered by the number of candidates, because many weak ones mean little.
        """
        doubts: dict[str, list[float]] = {kind: [] for kind in label_errors.SUSPICIONS}
        for error in self.label_errors:
            doubts[error.kind].append(error.doubt)
        return dict(sorted(doubts.items(), key=lambda item: -sum(item[1])))


def analyse(
    detections: Sequence[ImageArrays],
    truths: Sequence[ImageArrays],
    num_classes: int,
    iou_threshold: float = 0.5,
    interpolation: str = "all-point",
    label_scores: Sequence[np.ndarray] | None = None,
) -> Analysis:
    """Compute the ``Analysis`` of detections.

    Args:
        detections, truths, num_classes, iou_threshold, interpolation: as for ``voc_ap``. In all images
            ``boxes`` may be oriented ones, (M, 5) and (G, 5).
        label_scores: as for ``find_label_errors``.
    """
    voc = voc_ap(detections, truths, num_classes, iou_threshold, interpolation)
    by_iou = [
        voc_ap(detections, truths, num_classes, one, interpolation).mean_ap for one in IOU_THRESHOLDS
    ]
    by_size = []
    for low, high in zip(AREA_BOUNDS, AREA_BOUNDS[1:]):
        images = zip(detections, truths)
        sized = [of_size(found, truth, low, high, iou_threshold) for found, truth in images]
        sized_found, sized_truths = [found for found, _ in sized], [truth for _, truth in sized]
        result = voc_ap(sized_found, sized_truths, num_classes, iou_threshold, interpolation)
        by_size.append([*result.ap, result.mean_ap])
    return Analysis(
        voc=voc,
        by_iou=np.array(by_iou),
        by_size=np.array(by_size),
        by_score=curves.score_curves(voc),
        calibration=curves.calibration(voc),
        confusion=curves.confusion_matrix(
            detections, truths, num_classes, CONFUSION_SCORE, iou_threshold
        ),
        errors=error_analysis.analyse_errors(
            detections, truths, num_classes, iou_threshold, interpolation
        ),
        label_errors=label_errors.find_label_errors(detections, truths, label_scores),
    )


def of_size(
    found: ImageArrays, truth: ImageArrays, low: float, high: float, iou_threshold: float
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return an image's detections and objects for the AP of one size of objects.

    As in COCO, objects of other sizes become ``difficult``, and detections of other sizes that match no
    object of their class are dropped.

    Args:
        found, truth: the arrays of one image.
        low, high: bounds of the area, square pixels: low <= area < high.
        iou_threshold: a detection matches an object if their IoU is at least this.
    """
    boxes, others = (as_boxes(one["boxes"]) for one in (found, truth))
    same = np.asarray(found["labels"])[:, None] == np.asarray(truth["labels"])
    matches = (same & (iou(boxes, others) >= iou_threshold)).any(axis=1)
    areas, true_areas = (
        np.prod(np.maximum(oriented.side_lengths(one), 0), axis=1) for one in (boxes, others)
    )
    true_areas = np.asarray(truth.get("area", true_areas))
    kept = matches | ((areas >= low) & (areas < high))
    outside = (true_areas < low) | (true_areas >= high)
    return (
        {name: np.asarray(found[name])[kept] for name in ("boxes", "scores", "labels")},
        {
            "boxes": others,
            "labels": np.asarray(truth["labels"]),
            "difficult": np.asarray(truth["difficult"], bool) | outside,
        },
    )


class Speed:
    """The time per batch. The first batch also compiles, so it does not count if there are others."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, float]] = []

    def add(self, images: int, seconds: float) -> None:
        """Add a batch of ``images`` images that took ``seconds``."""
        self.batches.append((images, seconds))

    def values(self) -> dict[str, float]:
        """Return the median over the batches. It is the time of the detector, without the loader."""
        timed = self.batches[1:] or self.batches
        seconds = float(np.median([seconds / images for images, seconds in timed]))
        return {"milliseconds per image": 1000 * seconds, "images per second": 1 / seconds}


def number(value: float) -> float | None:
    """Return a number for JSON: None for NaN."""
    return None if np.isnan(value) else float(value)


def format_tables(analysis: Analysis) -> str:
    """Format the mistakes, the best score threshold and the label errors for the console."""
    threshold, f1 = analysis.by_score.best()
    lines = [error_analysis.format_table(analysis.errors)]
    if np.isfinite(threshold):
        lines.append(f"best mean F1 {f1:.4f} at score {threshold:.2f}")
    if analysis.label_errors:
        said = ", ".join(f"{len(ones)} {kind}" for kind, ones in analysis.doubts().items() if ones)
        lines.append(f"probable label errors: {said}")
    return "\n".join(lines)
