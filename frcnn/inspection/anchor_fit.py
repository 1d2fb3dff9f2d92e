"""The fit of anchors to the boxes of a data set, and sizes of anchors that fit better."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from frcnn.backend import compiled, on_cpu
from frcnn.config.schema import AnchorConfig, Config
from frcnn.data.sample import Dataset
from frcnn.inspection import charts
from frcnn.inspection.box_statistics import ImageBoxes, sides
from frcnn.models.backbones import BACKBONES
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.boxes import iou
from frcnn.text import bar_options

THRESHOLDS = (0.5, 0.7)  # IoU of a detection in VOC, and of a positive anchor
CHUNK = 8  # boxes compared with all anchors at once


def best_overlaps(
    boxes: Sequence[ImageBoxes], config: Config, anchor_config: AnchorConfig
) -> np.ndarray:
    """Return (G,) the highest IoU of each box with any anchor, for the boxes of all images.

    Each image is padded as a batch of one. As in training, anchors with their centre in the padding do
    not count.

    Args:
        boxes: result of ``input_boxes``.
        config: config with the backbone.
        anchor_config: the anchors.
    """
    strides, multiple = _backbone(config.model)
    anchor_generator = AnchorGenerator(strides=strides, **vars(anchor_config))

    @functools.lru_cache(maxsize=64)
    def anchors_of(height, width):
        padded = (-(-side // multiple) * multiple for side in (height, width))
        anchors = ops.convert_to_numpy(anchor_generator(*padded)[0])
        x, y = (anchors[:, :2] + anchors[:, 2:]).T / 2
        return anchors[(x >= 0) & (y >= 0) & (x < width) & (y < height)]

    best = compiled(lambda own, anchors: ops.max(iou(own, anchors), axis=-1), [(CHUNK, 4), (None, 4)])
    found = []
    with on_cpu():
        for own, _, size in tqdm(boxes, "anchors", unit="image", leave=False, **bar_options()):
            for start in range(0, len(own), CHUNK):
                chunk = own[start : start + CHUNK]
                padded = np.pad(chunk, ((0, CHUNK - len(chunk)), (0, 0)))
                found.append(ops.convert_to_numpy(best(padded, anchors_of(*size)))[: len(chunk)])
    return np.concatenate(found)


@functools.cache
def _backbone(model_config):
    """Return a backbone's strides, and the multiple to which image sides are padded."""
    images = keras.Input((None, None, 3))
    backbone = BACKBONES[model_config.backbone].build(images, model_config)
    return backbone.strides, backbone.size_multiple


def recall_charts(
    dataset: Dataset, boxes: Sequence[ImageBoxes], best: np.ndarray
) -> list[charts.BarChart]:
    """Return charts of the anchors' recall at each of ``THRESHOLDS``, overall and per class.

    Args:
        dataset: for the class names.
        boxes: result of ``input_boxes``.
        best: result of ``best_overlaps``.
    """
    labels = np.concatenate([own for _, own, _ in boxes])
    groups = [("all", np.ones(len(labels), bool))]
    groups += [(name, labels == index) for index, name in enumerate(dataset.classes)]
    groups = [(name, rows) for name, rows in groups if rows.any()]
    return [
        charts.shares(
            f"boxes with an anchor at an IoU of {threshold} or more",
            [name for name, _ in groups],
            [float(np.mean(best[rows] >= threshold)) for _, rows in groups],
        )
        for threshold in THRESHOLDS
    ]


def size_advice(boxes: Sequence[ImageBoxes], config: Config, best: np.ndarray) -> str:
    """Compare the recall of the config's anchors with that of suggested sizes, in some lines.

    Args:
        boxes: result of ``input_boxes``.
        config: config with the anchors.
        best: result of ``best_overlaps`` for these anchors.
    """
    sizes = suggest_sizes(sides(boxes), len(config.anchors.sizes))
    lines = [f"anchors on {config.model.backbone}, ratios {_list(config.anchors.ratios)}"]

    def add(what, chosen, overlaps):
        recall = ", ".join(f"{np.mean(overlaps >= t):.1%} at {t}" for t in THRESHOLDS)
        lines.append(f"  {what}: sizes {_list(chosen)}: recall {recall}")

    add("now", config.anchors.sizes, best)
    if config.anchors.size_per_level and len(sizes) < len(config.anchors.sizes):
        lines.append(
            f"  no suggestion: the boxes have only {len(sizes)} sizes ({_list(sizes)}), but the anchors "
            f"need one for each of {len(config.anchors.sizes)} levels"
        )
        return "\n".join(lines)
    suggested = config.anchors.replace(sizes=sizes)
    add("suggested", sizes, best_overlaps(boxes, config, suggested))
    lines.append(f"  to use the suggested sizes: --set anchors.sizes={_list(sizes)}")
    return "\n".join(lines)


def _list(numbers):
    return ",".join(f"{number:g}" for number in numbers)


def suggest_sizes(box_sides: np.ndarray, count: int) -> tuple[float, ...]:
    """Return anchor sizes for boxes: different whole pixels, in rising order.

    K-means on the logarithm of a box's side, because IoU depends on the ratio of sizes. It starts from
    quantiles, so the result is always the same.

    Args:
        box_sides: (G,) result of ``sides``, G at least 1.
        count: number of sizes; fewer are returned where boxes have fewer sizes.

    Example:
        >>> suggest_sizes(np.array([10, 10, 40, 40, 40, 90]), 3)
        (10.0, 40.0, 90.0)
    """
    logs = np.log(box_sides)
    centres = np.quantile(logs, (np.arange(count) + 0.5) / count)
    for _ in range(100):
        nearest = np.abs(logs[:, None] - centres).argmin(axis=1)
        members = [logs[nearest == k] for k in range(count)]
        moved = np.array([own.mean() if len(own) else old for own, old in zip(members, centres)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return tuple(sorted({float(max(1, round(size))) for size in np.exp(centres)}))
