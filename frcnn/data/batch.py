"""A batch: the images of one training step.

B: images per batch, H x W: pixels, G: ground-truth boxes per image (padded).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.data.sample import Sample


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The images of one step, or this process's share of them.

    Attributes:
        images: (B, H, W, 3) RGB, padded; uint8, or float32 without ``data.uint8_images``.
        image_sizes: (B, 2) float32 height and width without padding, pixels; 0 for filling images.
        gt_boxes: (B, G, 4) float32 boxes in pixels of the network input, or (B, G, 5) oriented boxes;
            padding is 0.
        gt_labels: (B, G) int32 object class; -1 is padding.
        weights: (B,) float32 weight of each image.
        samples: the ``Sample`` of each image. Filling images, the last of the batch, have none.
        position: (epoch, batch in the epoch), both from 0.
        targets: result of the loader's ``make_targets``, such as ``RpnTargets``; None without it.
        on_device: result of the loader's ``to_device``: {name: tensor} of what a step takes; None
            without it.
        indices: index in the data set of each of ``samples``.
        rows: (B,) int64 row of each image in the whole batch of all processes; it has no meaning for
            filling images.
        total: number of images in the whole batch, images that cannot be decoded included. If ``rows``
            is not given, both are those of a whole batch.
    """

    images: np.ndarray
    image_sizes: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    weights: np.ndarray
    samples: tuple[Sample, ...]
    position: tuple[int, int] = (0, 0)
    targets: Any = None
    on_device: Mapping[str, Any] | None = None
    indices: tuple[int, ...] = ()
    rows: np.ndarray | None = None
    total: int = 0

    def __post_init__(self):
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(len(self.images)))
            object.__setattr__(self, "total", len(self.images))


def padded_objects(
    boxes: Sequence[np.ndarray], labels: Sequence[np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects of B images as ``gt_boxes`` and ``gt_labels`` of a ``Batch``.

    Args:
        boxes: for each image, (number of its objects, 4 or 5) boxes.
        labels: for each image, the labels of its objects.
        count: G, at least the number of objects of any image.
    """
    gt_boxes = np.zeros((len(boxes), count, boxes[0].shape[1]), "float32")
    gt_labels = np.full((len(boxes), count), -1, "int32")
    for row, (own_boxes, own_labels) in enumerate(zip(boxes, labels)):
        gt_boxes[row, : len(own_boxes)] = own_boxes
        gt_labels[row, : len(own_labels)] = own_labels
    return gt_boxes, gt_labels
