"""Anchor grids, and which ground-truth box each anchor answers for.

Ren et al. 2015, sections 3.1.1 and 3.1.2. One function lays the grid for training targets and for
decoding alike, so the two cannot disagree. Letters: B images, L feature cells, A anchors a cell,
N = L·A anchors, G ground-truth boxes (padded).

Decided here: an anchor's centre lies at ``stride * (i + offset)``. Offset 0.5, the middle of the
cell's own patch, is unbiased; 0 is what most published weights were trained with.
"""

import numpy as np
from keras import ops

from frcnn import boxes as box_ops
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


class Pyramid:
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


def assign(anchors, gt_boxes, gt_valid, image_sizes, positive_iou=0.7, negative_iou=0.3):
    """Say for each anchor whether it is object or background, and of which box.

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
    centre = 0.5 * (anchors[:, :2] + anchors[:, 2:])
    limits = ops.cast(image_sizes, "float32")
    inside = (centre[None, :, 0] < limits[:, 1:]) & (centre[None, :, 1] < limits[:, :1])
    # (B, G, N): with the long axis last, the reductions over boxes run over whole vectors.
    counts = ops.cast(gt_valid[..., None] & inside[:, None, :], "float32")
    overlaps = box_ops.iou(gt_boxes, anchors) * counts
    best = ops.max(overlaps, axis=1)
    best_of_box = ops.max(overlaps, axis=2, keepdims=True)
    # A box that no anchor touches has a best IoU of 0, which is nobody's merit.
    is_best = ops.any((overlaps == best_of_box) & (best_of_box > 0.0), axis=1)
    labels = ops.where(best < negative_iou, NEGATIVE, IGNORED)
    labels = ops.where((best >= positive_iou) | is_best, POSITIVE, labels)
    labels = ops.where(inside, labels, IGNORED)
    return ops.cast(labels, "int32"), ops.cast(ops.argmax(overlaps, axis=1), "int32")
