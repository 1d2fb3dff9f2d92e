"""The boxes of a data set in pixels of the network input, as in training, and their distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from frcnn.config.schema import DataConfig
from frcnn.data import transforms
from frcnn.data.sample import Dataset
from frcnn.inspection import charts

# Boxes (G, 4) float32 in pixels of the network input, labels (G,), (height, width) of the resized image.
ImageBoxes = tuple[np.ndarray, np.ndarray, tuple[int, int]]


def input_boxes(dataset: Dataset, config: DataConfig) -> list[ImageBoxes]:
    """Return boxes, labels and size of each image as in training, without difficult objects."""
    found = []
    for sample in dataset.samples:
        (width, height), _ = transforms.resized_size(sample.width, sample.height, config)
        stretch = np.array([width / sample.width, height / sample.height] * 2, "float32")
        kept = ~sample.difficult
        found.append((sample.boxes[kept] * stretch, sample.labels[kept], (height, width)))
    return found


def sides(boxes: Sequence[ImageBoxes]) -> np.ndarray:
    """Return (G,) square roots of the areas of all boxes, in pixels of the network input."""
    return np.sqrt(np.prod(_extents(boxes), axis=1))


def _extents(boxes):
    """Return (G, 2) widths and heights of all boxes."""
    corners = np.concatenate([own for own, _, _ in boxes])
    return corners[:, 2:] - corners[:, :2]


def box_charts(dataset: Dataset, boxes: list[ImageBoxes]) -> list[charts.BarChart]:
    """Return charts of the boxes per class, of their sizes and of their aspect ratios."""
    labels = np.concatenate([own for _, own, _ in boxes])
    per_class = np.bincount(labels, minlength=len(dataset.classes))
    extents = _extents(boxes)
    return [
        charts.counts("boxes per class", dataset.classes, per_class),
        charts.histogram(
            "boxes by side, sqrt(width x height), pixels of the network input", sides(boxes)
        ),
        charts.histogram("boxes by aspect ratio, height / width", extents[:, 1] / extents[:, 0]),
    ]
