"""Charts of a validation as pictures: F1 by score, calibration, confusion of classes, AP by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from frcnn.evaluation.curves import Calibration, ScoreCurves
from frcnn.inspection import fonts
from frcnn.inspection.stages import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
MAX_LINES = 10  # classes in a chart of lines; more cannot be told apart
MAX_NUMBERED = 25  # classes up to which the cells of a confusion matrix have numbers


def f1_chart(curves: ScoreCurves, class_names: Sequence[str]) -> np.ndarray:
    """Draw F1 against the score threshold: the mean, and the classes with the most objects.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure, axes = _axes()
    most = np.argsort(-curves.objects, kind="stable")[:MAX_LINES]
    for label in most:
        if curves.objects[label]:
            axes.plot(curves.thresholds, curves.f1[label], lw=1, label=_plain(class_names[label]))
    threshold, best = curves.best()
    axes.plot(curves.thresholds, curves.mean_f1, "k", lw=2, label="mean")
    if best == best:  # not NaN
        axes.axvline(threshold, color="k", lw=0.8, ls=":")
    axes.set(
        title=f"F1 is best, {best:.3f}, at score {threshold:.2f}",
        xlabel="least score of a detection",
        ylabel="F1",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(fontsize=7, loc="best")
    return to_pixels(figure)


def learning_rate_chart(
    rates: np.ndarray, losses: np.ndarray, mean: np.ndarray, best: float | None
) -> np.ndarray:
    """Draw the loss against a learning rate that rises; a line marks the rate to take, if there is one.

    Args:
        rates, losses, mean: (N,) rates, losses and smoothed losses.
        best: the rate to take.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure, axes = _axes()
    axes.plot(rates, losses, color="0.7", lw=0.8, label="loss of a step")
    axes.plot(rates, mean, lw=2, label="running mean")
    title = "the loss does not fall"
    if best is not None:
        axes.axvline(best, color="k", lw=0.8, ls=":")
        title = f"the loss falls most steeply at {best:.1e}"
    axes.set(title=title, xlabel="learning rate of a step", ylabel="total loss", xscale="log")
    axes.set_ylim(0, 1.2 * float(np.percentile(losses, 95)))
    axes.legend(fontsize=7)
    return to_pixels(figure)


def calibration_chart(result: Calibration) -> np.ndarray:
    """Draw the share of right detections by score. For a calibrated detector, all bars end at the line.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    figure, axes = _axes()
    width = np.diff(result.edges)
    bars = axes.bar(result.edges[:-1], np.nan_to_num(result.precision), width, align="edge", ec="w")
    axes.bar_label(bars, [str(count) if count else "" for count in result.counts], fontsize=7)
    axes.plot([0, 1], [0, 1], "k:", lw=1)
    axes.set(
        title=f"calibration error {result.error:.3f}",
        xlabel="score; above each bar, detections",
        ylabel="share that is right",
        xlim=(0, 1),
        ylim=(0, 1.08),
    )
    return to_pixels(figure)


def confusion_chart(
    matrix: np.ndarray, class_names: Sequence[str], score_threshold: float
) -> np.ndarray:
    """Draw a confusion matrix, as shares of each row.

    Args:
        matrix: (C + 1, C + 1), the result of ``confusion_matrix``.
        class_names: C names.
        score_threshold: that of ``confusion_matrix``, for the title.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    names = [*(_plain(name) for name in class_names), "background"]
    side = min(3.4 + 0.34 * len(names), 16.0)
    figure, axes = _axes(side + 0.6, side)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(names) <= 12 else 7 if len(names) <= 30 else 4
    places = range(len(names))
    axes.set_xticks(places, names, rotation=90, fontsize=size)
    axes.set_yticks(places, names, fontsize=size)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for tick, name in zip(ticks, [*class_names, "background"]):
            tick.set(family=fonts.families(name), parse_math=False)  # "$" in a class name is no formula
    if len(names) <= MAX_NUMBERED:
        for row, column in zip(*np.nonzero(matrix)):
            ink = "white" if shares[row, column] > 0.5 else "black"
            number = str(matrix[row, column])
            axes.text(column, row, number, ha="center", va="center", color=ink, fontsize=size - 1)
    axes.set(
        title=f"detections of score {score_threshold:.2f} or more",
        xlabel="detected class; background: missed",
        ylabel="true class; background: no object there",
    )
    return to_pixels(figure)


def ap_chart(summary: Mapping[str, float]) -> np.ndarray:
    """Draw COCO AP by IoU threshold and by object size.

    Args:
        summary: of ``frcnn.evaluation.coco_ap.CocoAp``.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = (
        ("IoU 0.5 to 0.95", "AP"),
        ("IoU 0.5", "AP50"),
        ("IoU 0.75", "AP75"),
        ("small, below 32 x 32", "APs"),
        ("medium", "APm"),
        ("large, from 96 x 96", "APl"),
    )
    figure, axes = _axes()
    values = [summary[name] for _, name in rows]
    bars = axes.barh(range(len(rows)), np.nan_to_num(values))
    axes.bar_label(bars, ["-" if value != value else f"{value:.3f}" for value in values], padding=3)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set(title="COCO AP by IoU and by object size", xlim=(0, 1.12))
    axes.invert_yaxis()
    return to_pixels(figure)


def to_pixels(figure: Figure) -> np.ndarray:
    """Draw a matplotlib figure into (H, W, 3) uint8 RGB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _axes(width: float = 5.0, height: float = 4.0) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def _plain(name: str) -> str:
    """Return a class name that matplotlib can draw, without a leading "_", which hides it."""
    return fonts.replace_missing(short(name)).lstrip("_").replace("$", r"\$") or "-"
