"""Anchor grids, and which ground-truth box each anchor answers for.

Ren et al. 2015, sections 3.1.1 and 3.1.2. One function lays the grid for training targets and for
decoding alike, so the two cannot disagree. Letters: B images, L feature cells, A anchors a cell,
N = L·A anchors, G ground-truth boxes (padded).

Decided here: an anchor's centre lies at ``stride * (i + offset)``. Offset 0.5, the middle of the
cell's own patch, is unbiased; 0 is what most published weights were trained with.

The grid is on ``keras.ops``, as the models lay it as well. ``assign`` is numpy: it runs in the input
pipeline alone, and there a backend would cost a dispatch an operation, and JAX a compilation for each
image size.
"""

import numpy as np
from keras import ops

from frcnn.errors import ConfigError

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def base_anchors(sizes, ratios, rounded=False):
    """Return the anchors of one cell, centred on the origin.

    Args:
        sizes: side lengths of the square anchors, pixels of the network input; the other ratios
            keep their area.
        ratios: height divided by width.
        rounded: whether corners are rounded to whole pixels.

    Returns:
        (A, 4) float32 numpy boxes, ratio by ratio and within a ratio size by size.
    """
    stretch = np.sqrt(np.asarray(ratios, "float64"))[:, None]
    sizes = np.asarray(sizes, "float64")[None, :]
    width, height = (sizes / stretch).ravel(), (sizes * stretch).ravel()
    corners = np.stack([-width, -height, width, height], axis=-1) / 2
    return (np.round(corners) if rounded else corners).astype("float32")


def grid(height, width, stride_y, stride_x, base, offset=0.5):
    """Return every anchor of a feature map.

    Args:
        height, width: of the feature map, cells.
        stride_y, stride_x: pixels of the network input a cell.
        base: (A, 4) from ``base_anchors``.
        offset: where in its cell an anchor's centre lies, in cells.

    Returns:
        (N, 4) anchors, row by row, cell by cell, then in the order of ``base``; not clipped.
    """
    x = (ops.cast(ops.arange(width), "float32") + offset) * ops.cast(stride_x, "float32")
    y = (ops.cast(ops.arange(height), "float32") + offset) * ops.cast(stride_y, "float32")
    y, x = ops.meshgrid(y, x, indexing="ij")
    centres = ops.reshape(ops.stack([x, y, x, y], axis=-1), (-1, 1, 4))
    return ops.reshape(centres + ops.convert_to_tensor(base), (-1, 4))


class AnchorGenerator:
    """The anchors of all feature levels; a single level is a pyramid of one.

    Args:
        config: ``AnchorConfig``.
        strides: pixels of the network input a cell, for each level.
    """

    def __init__(self, config, strides):
        sizes = [config.sizes] * len(strides)
        if config.size_per_level:
            if len(config.sizes) != len(strides):
                raise ConfigError(
                    f"anchors.sizes needs a size for each of {len(strides)} levels, not {config.sizes}"
                )
            sizes = [(size,) for size in config.sizes]
        self.strides = tuple(strides)
        self.offset = config.offset
        self.bases = [base_anchors(own, config.ratios, config.rounded) for own in sizes]
        self.num_anchors = len(self.bases[0])

    def __call__(self, height, width):
        """Return the anchors of a network input, finest level first, and their number on each level.

        Args:
            height, width: of the padded network input, pixels.

        Returns:
            (N, 4) anchors and a list of the levels' counts.
        """
        anchors, counts = [], []
        for stride, base in zip(self.strides, self.bases):
            rows, columns = -(-height // stride), -(-width // stride)
            # Where the last cells stick out of the input, they are spread over it.
            level = grid(rows, columns, height // rows, width // columns, base, self.offset)
            anchors.append(level)
            counts.append(rows * columns * len(base))
        return ops.concatenate(anchors, axis=0), counts


def match_anchors(anchors, gt_boxes, gt_valid, image_sizes, positive_iou=0.7, negative_iou=0.3):
    """Say for each anchor whether it is object or background, and of which box. In numpy.

    Positive: IoU of at least ``positive_iou`` with some box, or the best IoU that some box gets from
    any anchor (all anchors that tie for it). Negative: IoU below ``negative_iou`` with every box.
    Ignored: the rest, and anchors whose centre lies outside the image, in the padding of its batch;
    those are nobody's best either.
    The paper ignores every anchor that crosses the image's border; keeping them, as later
    implementations do, lets the RPN learn boxes at the border.

    Args:
        anchors: (N, 4).
        gt_boxes: (B, G, 4).
        gt_valid: (B, G) bool, False for padding; an image may have no box at all.
        image_sizes: (B, 2) height and width without padding, pixels.
        positive_iou, negative_iou: thresholds.

    Returns:
        labels, (B, N) int32 POSITIVE, NEGATIVE or IGNORED, and matches, (B, N) int32 index of the
        box that the anchor overlaps most (the first of equals).
    """
    x1, y1, x2, y2 = np.ascontiguousarray(anchors.T)
    areas = np.maximum(x2 - x1, 0) * np.maximum(y2 - y1, 0)
    labels = np.full((len(gt_boxes), len(anchors)), IGNORED, "int32")
    matches = np.zeros_like(labels)
    for row, (boxes, valid, (height, width)) in enumerate(zip(gt_boxes, gt_valid, image_sizes)):
        inside = (0.5 * (x1 + x2) < width) & (0.5 * (y1 + y2) < height)
        best, is_best = np.zeros(len(anchors), "float32"), np.zeros(len(anchors), bool)
        # Box by box, so that the arrays worked on stay in the processor's cache.
        for index in np.flatnonzero(valid):
            left, top, right, bottom = boxes[index]
            # The arithmetic of boxes.iou.
            overlaps = np.maximum(np.minimum(right, x2) - np.maximum(left, x1), 0)
            overlaps *= np.maximum(np.minimum(bottom, y2) - np.maximum(top, y1), 0)
            own_area = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
            overlaps /= np.maximum(own_area + areas - overlaps, 1e-9)
            overlaps *= inside
            np.copyto(matches[row], index, where=overlaps > best)
            np.maximum(best, overlaps, out=best)
            most = overlaps.max()
            if most > 0.0:  # a box that no anchor touches is nobody's merit
                is_best |= overlaps == most
        labels[row, (best < negative_iou) & inside] = NEGATIVE
        labels[row, ((best >= positive_iou) | is_best) & inside] = POSITIVE
    return labels, matches
