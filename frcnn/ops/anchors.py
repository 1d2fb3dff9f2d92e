"""Anchor grids, and the match of each anchor to a ground-truth box.

Ren et al. 2015, sections 3.1.1 and 3.1.2. Training targets and decoding use the same grid. B: images,
L: feature cells, A: anchors per cell, N = L·A: anchors, G: ground-truth boxes (padded).

An anchor's centre lies at ``stride * (i + offset)``. Offset 0.5, the middle of the cell, is unbiased;
most published weights were trained with 0.

The grid uses ``keras.ops``, because the models need it as well. ``match_anchors`` uses numpy: it runs
only in the loader's threads, where ``keras.ops`` would be slower and JAX would compile once per image
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from frcnn.errors import ConfigError

Tensor = Any

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def base_anchors(sizes: Sequence[float], ratios: Sequence[float], rounded: bool = False) -> np.ndarray:
    """Return the anchors of one cell, centred on the origin.

    Args:
        sizes: side lengths of the square anchors, pixels of the network input. Anchors of other ratios
            have the same area.
        ratios: height divided by width.
        rounded: whether corners are rounded to whole pixels.

    Returns:
        (A, 4) float32 boxes: all sizes of the first ratio, then all sizes of the next one.
    """
    stretch = np.sqrt(np.asarray(ratios, "float64"))[:, None]
    sides = np.asarray(sizes, "float64")[None, :]
    width, height = (sides / stretch).ravel(), (sides * stretch).ravel()
    corners = np.stack([-width, -height, width, height], axis=-1) / 2
    return (np.round(corners) if rounded else corners).astype("float32")


def grid(
    height: int | Tensor,
    width: int | Tensor,
    stride_y: float | Tensor,
    stride_x: float | Tensor,
    base: np.ndarray,
    offset: float = 0.5,
) -> Tensor:
    """Return all anchors of a feature map.

    Args:
        height, width: of the feature map, cells.
        stride_y, stride_x: pixels of the network input per cell.
        base: (A, 4) from ``base_anchors``.
        offset: position of an anchor's centre in its cell, in cells.

    Returns:
        (N, 4) anchors, row by row, cell by cell, then in the order of ``base``; not clipped to the
        image.
    """
    x = (ops.cast(ops.arange(width), "float32") + offset) * ops.cast(stride_x, "float32")
    y = (ops.cast(ops.arange(height), "float32") + offset) * ops.cast(stride_y, "float32")
    y, x = ops.meshgrid(y, x, indexing="ij")
    centres = ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4))
    return ops.reshape(centres + ops.convert_to_tensor(base), (-1, 4))


class AnchorGenerator:
    """The anchors of all feature levels of a network input.

    Args:
        sizes: side lengths of the square anchors, pixels of the network input.
        ratios: height divided by width.
        strides: pixels of the network input per feature cell, for each level, the finest first.
        size_per_level: whether each level has one of the sizes; otherwise each level has all of them.
        offset: position of an anchor's centre in its cell, in cells.
        rounded: whether corners are rounded to whole pixels.

    Attributes:
        num_anchors: A.

    Raises:
        ConfigError: with ``size_per_level``, the number of sizes is not the number of levels.

    Example:
        >>> generator = AnchorGenerator((128, 256, 512), (0.5, 1, 2), strides=(16,))
        >>> anchors, counts = generator(608, 800)  # (17100, 4) and [17100]
    """

    def __init__(
        self,
        sizes: Sequence[float],
        ratios: Sequence[float],
        strides: Sequence[int],
        size_per_level: bool = False,
        offset: float = 0.5,
        rounded: bool = False,
    ):
        if size_per_level and len(sizes) != len(strides):
            raise ConfigError(
                f"anchors.sizes needs one size for each of {len(strides)} levels, not {sizes}"
            )
        self.sizes, self.ratios, self.strides = tuple(sizes), tuple(ratios), tuple(strides)
        self.size_per_level, self.offset, self.rounded = size_per_level, offset, rounded
        of_levels = [(size,) for size in sizes] if size_per_level else [self.sizes] * len(strides)
        self.bases = [base_anchors(own, ratios, rounded) for own in of_levels]
        self.num_anchors = len(self.bases[0])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        names = ("sizes", "ratios", "strides", "size_per_level", "offset", "rounded")
        return {name: getattr(self, name) for name in names}

    def __call__(self, height: int | Tensor, width: int | Tensor) -> tuple[Tensor, list]:
        """Return the anchors of a network input.

        Args:
            height, width: of the padded network input, pixels.

        Returns:
            (N, 4) anchors, the finest level first, and a list of the number of anchors on each level.
        """
        anchors, counts = [], []
        for stride, base in zip(self.strides, self.bases):
            rows, columns = -(-height // stride), -(-width // stride)
            # If the last cells would reach beyond the input, the stride is the largest whole number with
            # which all cells lie inside.
            level = grid(rows, columns, height // rows, width // columns, base, self.offset)
            anchors.append(level)
            counts.append(rows * columns * len(base))
        return ops.concatenate(anchors, axis=0), counts


def match_anchors(
    anchors: np.ndarray,
    gt_boxes: np.ndarray,
    gt_valid: np.ndarray,
    image_sizes: np.ndarray,
    positive_iou: float = 0.7,
    negative_iou: float = 0.3,
) -> tuple[np.ndarray, np.ndarray]:
    """Label each anchor as object or background, and match it to a ground-truth box. It uses numpy.

    Anchors whose centre lies in the padding, outside the image, are ignored. Of the others:

    - Positive: the anchor's IoU with a box is at least ``positive_iou``, or it is above 0 and no anchor
      has a higher IoU with that box.
    - Negative: the anchor's IoU with every box is below ``negative_iou``.
    - Ignored: all others.

    The paper ignores all anchors that cross the image's border. Here they are used, as in later
    implementations, so that the RPN learns boxes at the border.

    Args:
        anchors: (N, 4).
        gt_boxes: (B, G, 4).
        gt_valid: (B, G) bool, False for padding; an image may have no box.
        image_sizes: (B, 2) height and width without padding, pixels.
        positive_iou, negative_iou: thresholds.

    Returns:
        labels: (B, N) int32 POSITIVE, NEGATIVE or IGNORED.
        matches: (B, N) int32 index of the box with the highest IoU; the lowest index if several have it.
    """
    x1, y1, x2, y2 = np.ascontiguousarray(anchors.T)
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    labels = np.full((len(gt_boxes), len(anchors)), IGNORED, "int32")
    matches = np.zeros_like(labels)
    for row, (boxes, valid, (height, width)) in enumerate(zip(gt_boxes, gt_valid, image_sizes)):
        inside = (0.5 * (x1 + x2) < width) & (0.5 * (y1 + y2) < height)
        best, is_best = np.zeros(len(anchors), "float32"), np.zeros(len(anchors), bool)
        # One box at a time, so that the arrays stay in the processor's cache.
        for index in np.flatnonzero(valid):
            left, top, right, bottom = boxes[index]
            # The same arithmetic as in frcnn.ops.boxes.iou.
            overlaps = np.maximum(np.minimum(right, x2) - np.maximum(left, x1), 0)
            overlaps *= np.maximum(np.minimum(bottom, y2) - np.maximum(top, y1), 0)
            own_area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
            overlaps /= np.maximum(own_area + areas - overlaps, 1e-9)
            overlaps *= inside
            np.copyto(matches[row], index, where=overlaps > best)
            np.maximum(best, overlaps, out=best)
            most = overlaps.max()
            if most > 0.0:  # otherwise no anchor overlaps this box
                is_best |= overlaps == most
        labels[row, (best < negative_iou) & inside] = NEGATIVE
        labels[row, ((best >= positive_iou) | is_best) & inside] = POSITIVE
    return labels, matches
