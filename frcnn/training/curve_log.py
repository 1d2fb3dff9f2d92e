"""The curves, charts, histograms and tables of a run, as summaries for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from frcnn.config.schema import KEYS, Config
from frcnn.config.text_format import shown
from frcnn.evaluation import curves
from frcnn.evaluation.voc_ap import VocAp, iou
from frcnn.inspection import curve_charts
from frcnn.logging import summaries
from frcnn.logging.summaries import Summary
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import flatten_layers

MAX_WEIGHTS = 20_000  # most weights per variable in a histogram
# Settings that always have a column on the page HParams.
MAIN_SETTINGS = (
    "model.backbone",
    "train.schedule",
    "train.precision",
    "train.epochs",
    "train.seed",
    "data.batch_size",
    "data.short_side",
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "anchors.sizes",
)
SCORES = ("mAP", "F1", "total_loss")
CHARTS = {
    "Sub-models, training and validation": {
        "RPN": [r"^rpn/loss(_cls|_regr)?$"],
        "classifier": [r"^classifier/loss(_cls|_regr)?$"],
        "total loss": [r"^total_loss$"],
        "accuracy of the classifier": [r"^classifier/accuracy$"],
    },
    "Scores": {
        "mAP and best F1": [r"^mAP$", r"^F1$"],
        "AP of each class": [r"^AP/"],
    },
    "Proposals": {
        "recall of the RPN": [r"^rpn/recall$"],
        "positive RoIs per image": [r"^classifier/positive_rois$"],
    },
    "Optimizers": {
        "learning rates": [r"^learning_rate/"],
        "norms of the gradients": [r"^gradient_norm/"],
    },
}


def start_of_run(config: Config) -> dict[str, list[Summary]]:
    """Return {run: summaries} that are written once: layout, config as text, hyperparameters."""
    values = {key: config.get(key) for key in KEYS}
    default = Config()
    rows = [
        f"| {'**' if value != default.get(key) else ''}{key}"
        f"{'**' if value != default.get(key) else ''} | {_cell(value)} |"
        for key, value in values.items()
    ]
    table = "\n".join(["| setting (bold: not the default) | value |", "|---|---|", *rows])
    changed = {key for key in KEYS if values[key] != default.get(key)} - {"data.dir", "data.classes"}
    columns = {
        key: _plain(values[key])
        for key in KEYS
        if key in MAIN_SETTINGS or (key in changed and not key.startswith(("log.", "checkpoint.")))
    }
    return {
        "train": [summaries.text("config", table), summaries.layout(CHARTS)],
        "validation": summaries.hparams(columns, SCORES),
    }


def of_detections(
    detections: Sequence[Mapping[str, Any]],
    truths: Sequence[Mapping[str, Any]],
    result: VocAp,
    classes: Sequence[str],
    scored: curves.ScoreCurves,
    score_threshold: float,
) -> list[Summary]:
    """Return PR curves, F1, calibration and confusion of a validation.

    Args:
        detections, truths: one dict per image, as for ``voc_ap``.
        result: the result of ``voc_ap``.
        classes: names of the object classes.
        scored: ``score_curves`` of ``result``.
        score_threshold: least score of the detections in the confusion matrix.
    """
    matrix = curves.confusion_matrix(
        detections, truths, len(classes), score_threshold, result.iou_threshold
    )
    charts = {
        "curves/F1": curve_charts.f1_chart(scored, classes),
        "curves/calibration": curve_charts.calibration_chart(curves.calibration(result)),
        "curves/confusion": curve_charts.confusion_chart(matrix, classes, score_threshold),
    }
    found = [summaries.image(tag, pixels) for tag, pixels in charts.items()]
    for label, name in enumerate(classes):
        if scored.objects[label]:
            right, wrong = scored.true_positives[label], scored.false_positives[label]
            found.append(summaries.pr_curve(f"PR/{name}", right, wrong, int(scored.objects[label])))
    return found


def best_overlaps(boxes: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
    """Return (G,) the highest IoU of each object with any of the boxes; 0 without boxes.

    Args:
        boxes: (M, 4) proposals or anchors.
        gt_boxes: (G, 4).
    """
    if not len(boxes) or not len(gt_boxes):
        return np.zeros(len(gt_boxes))
    return iou(np.asarray(gt_boxes, "float64"), np.asarray(boxes, "float64")).max(axis=1)


def roi_values(outputs: Mapping[str, Any], class_output: str, box_output: str) -> dict[str, np.ndarray]:
    """Return scores and deltas of the sampled RoIs of a step, each as one array.

    Args:
        outputs: outputs of a step model with the classifier's predictions and targets.
        class_output, box_output: names of the classifier's predictions.

    Returns:
        {tag: (K,) values} for histograms.
    """
    y_class, y_regress, scores, deltas = (
        ops.convert_to_numpy(ops.cast(outputs[name], "float32"))
        for name in ("y_class", "y_regress", class_output, box_output)
    )
    true_scores = (scores * y_class).sum(axis=-1)
    is_positive, is_negative = y_class[..., :-1].any(axis=-1), y_class[..., -1] > 0
    mask, targets = np.split(y_regress, 2, axis=-1)
    return {
        "histograms/score_of_true_class_positive_rois": true_scores[is_positive],
        "histograms/score_of_background_negative_rois": true_scores[is_negative],
        "histograms/box_deltas_predicted": deltas[mask > 0],
        "histograms/box_deltas_target": targets[mask > 0],
    }


def weight_histograms(models: FasterRCNN) -> list[Summary]:
    """Return three histograms of kernels: of the backbone, of the RPN's own layers, and of the head."""
    rpn, classifier = flatten_layers(models.rpn), flatten_layers(models.classifier)
    classifier = classifier.union(*(flatten_layers(stage) for stage in models.cascade.stages))
    groups = {
        "backbone": rpn & classifier,
        "rpn": rpn - classifier,
        "classifier": classifier - rpn,
    }
    found = []
    for name, layers in groups.items():
        kernels = [weight for layer in layers for weight in layer.weights if len(weight.shape) > 1]
        kernels.sort(key=lambda weight: weight.path)
        parts = [np.zeros(0)]
        for kernel in kernels:
            values = ops.reshape(kernel, (-1,))
            step = -(-int(values.shape[0]) // MAX_WEIGHTS)
            parts.append(ops.convert_to_numpy(values[::step]))
        found.append(summaries.histogram(f"histograms/weights_{name}", np.concatenate(parts)))
    return found


def _cell(value):
    """Return a value as a cell of a Markdown table."""
    text = shown(value) if value != () else ""
    return str(text).replace("|", r"\|").replace("\n", " ") or "(empty)"


def _plain(value):
    """Return a value as a type that HParams accepts: a number, a boolean or text."""
    return value if isinstance(value, (bool, int, float, str)) else shown(value)
