"""RoIAlign: a fixed grid of features from each region of interest, at one or several levels.

He et al. 2017 (Mask R-CNN), section 3. The level of a RoI: Lin et al. 2017, section 4.2.

Each bin is the mean of S x S bilinear samples. A sample up to one cell outside the map has the value at
the map's edge; a sample farther outside is 0, as in other implementations. A single level is treated as
a pyramid with one level.

B: images, h x w: feature map, K: channels, R: RoIs, P: pool size, S: samples per bin along each axis,
N = B·R: RoIs of all images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import (
    IS_TENSORFLOW,
    has_native_crop,
    native_crop_and_resize,
    roi_align_of_format,
)
from frcnn.ops import boxes as box_ops

Tensor = Any

# A RoI with this side, that of ImageNet's training images, is pooled from the level of stride 16.
CANONICAL_SIDE = 224.0
CANONICAL_STRIDE = 16


@keras.saving.register_keras_serializable(package="frcnn")
class RoIAlign(keras.layers.Layer):
    """Pool RoIs by RoIAlign.

    Inputs: a list of features (B, h, w, K), the finest first, and rois (B, R, 4). Output: (B, R, P, P,
        K).

    Args:
        strides: pixels of the network input per feature cell, for each level.
        pool_size: P.
        samples: S.
        aligned: True: a feature's value is at the centre of its cell, a shift by half a cell
            (``aligned=True`` in Detectron2). False: as the original RoIAlign, at the cell's corner; then
            a RoI is at least one cell wide and high.
    """

    def __init__(
        self,
        strides: Sequence[int],
        pool_size: int = 7,
        samples: int = 2,
        aligned: bool = True,
        **kwargs: Any,
    ):
        # Under mixed precision the RoIs must not be cast to float16, in which 700.3 becomes 700.5.
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.pool_size = pool_size
        self.samples = samples
        self.aligned = aligned
        # XLA has no kernel for crop_and_resize. Without this line, Keras would use XLA on a GPU.
        self.supports_jit = not IS_TENSORFLOW

    def call(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        batch, count = ops.shape(rois)[:2]
        image, rois, level = flatten_rois(rois, self.strides)
        if own := roi_align_of_format():
            cells = rois / ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
            settings = (self.pool_size, self.samples, self.aligned)
            pooled = level_by_level(own, features, level, (cells, image), settings)
        else:
            first, step = self._sample_grid(rois, level)
            sample = crop_samples if has_native_crop() else gather_samples
            values = sample(features, level, image, first, step, self.pool_size * self.samples)
            pooled = ops.average_pool(values, self.samples, self.samples)
        return ops.reshape(pooled, (batch, count, *pooled.shape[1:]))

    def _sample_grid(self, rois, level):
        """Return the first sample (N, 2) and the step between samples (N, 2), both x, y in cells."""
        stride = ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
        shift = 0.5 if self.aligned else 0.0
        corner = rois[:, :2] / stride - shift
        size = (rois[:, 2:] - rois[:, :2]) / stride
        if not self.aligned:
            size = ops.maximum(size, 1.0)
        step = size / (self.pool_size * self.samples)
        return corner + 0.5 * step, step

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "strides": self.strides,
            "pool_size": self.pool_size,
            "samples": self.samples,
            "aligned": self.aligned,
        }


def flatten_rois(rois: Tensor, strides: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the image axis and the RoI axis.

    Args:
        rois: (B, R, 4).
        strides: of the levels, the finest first.

    Returns:
        image: (N,) int32, index of each RoI's image.
        rois: (N, 4) float32.
        level: (N,) int32, index of the level that each RoI is pooled from.
    """
    batch, count = ops.shape(rois)[:2]
    image = ops.repeat(ops.cast(ops.arange(batch), "int32"), count)
    rois = ops.reshape(ops.cast(rois, "float32"), (-1, 4))
    return image, rois, roi_levels(rois, strides)


def roi_levels(rois: Tensor, strides: Sequence[int]) -> Tensor:
    """Return the index of the level that each RoI is pooled from. Lin et al. 2017, equation 1.

    Args:
        rois: (N, 4).
        strides: of the levels, the finest first.

    Returns:
        (N,) int32.
    """
    finest, coarsest = math.log2(strides[0]), math.log2(strides[-1])
    side = ops.sqrt(box_ops.area(rois))
    # 1e-6 is added so that rounding cannot move a RoI of exactly 112, 224, ... pixels to the finer
    # level.
    level = ops.floor(math.log2(CANONICAL_STRIDE) + ops.log2(side / CANONICAL_SIDE) + 1e-6)
    return ops.cast(ops.clip(level, finest, coarsest) - finest, "int32")


def crop_samples(
    features: Sequence[Tensor], level: Tensor, image: Tensor, first: Tensor, step: Tensor, points: int
) -> Tensor:
    """Sample features by TensorFlow's ``crop_and_resize``, level by level. It is fast, but not for XLA.

    Args:
        features: list of (B, h, w, K).
        level, image: (N,) int32, each RoI's level and image.
        first: (N, 2) x and y of the first sample, cells.
        step: (N, 2) distance between samples in x and y, cells.
        points: number of samples along each axis.

    Returns:
        (N, points, points, K) in the dtype of the features.
    """
    return level_by_level(_crop, features, level, (image, first, step), (points,))


def level_by_level(
    function: Callable[..., Tensor],
    features: Sequence[Tensor],
    level: Tensor,
    of_rois: Sequence[Tensor],
    settings: Sequence[Any],
) -> Tensor:
    """Apply a function to each level and to the RoIs that are pooled from it.

    Args:
        function: called as ``function(features of the level, *rows of of_rois, *settings)``; it returns
            one row per RoI of the level.
        features: list of (B, h, w, K).
        level: (N,) int32, each RoI's level.
        of_rois: arrays whose first axis is N.
        settings: further arguments of the function.

    Returns:
        (N, ...), the function's rows in the order of the RoIs.
    """
    if len(features) == 1:
        return function(features[0], *of_rois, *settings)
    values, indices = [], []
    for number, map_ in enumerate(features):
        index = ops.nonzero(level == number)[0]
        of_level = (ops.take(value, index, axis=0) for value in of_rois)
        values.append(function(map_, *of_level, *settings))
        indices.append(index)
    return ops.take(ops.concatenate(values), ops.argsort(ops.concatenate(indices)), axis=0)


def _crop(features, image, first, step, points):
    # The edge is repeated once, so that samples up to one cell outside have the value at the edge.
    padded = ops.pad(ops.cast(features, "float32"), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    last = ops.cast(ops.stack([ops.shape(padded)[2] - 1, ops.shape(padded)[1] - 1]), "float32")
    start = (first + 1.0) / last
    end = (first + 1.0 + step * (points - 1)) / last
    corners = ops.concatenate([start[:, ::-1], end[:, ::-1]], axis=-1)
    return ops.cast(native_crop_and_resize(padded, corners, image, points), features.dtype)


def gather_samples(
    features: Sequence[Tensor], level: Tensor, image: Tensor, first: Tensor, step: Tensor, points: int
) -> Tensor:
    """Sample features by gathering the four cells around each sample, all levels at once.

    All shapes are fixed, as XLA needs them. Arguments and result as in ``crop_samples``.
    """
    flat, start, height, width = flatten_levels(features, level, image)
    position = first[..., None] + step[..., None] * ops.cast(ops.arange(points), "float32")
    left, right, x_share, x_inside = neighbours(position[:, 0], width[:, None])
    above, below, y_share, y_inside = neighbours(position[:, 1], height[:, None])
    x_share, y_share = x_share[:, None, :], y_share[:, :, None]

    def cell(row, column):
        index = start[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None, :]
        return ops.take(flat, index, axis=0)

    def weigh(values, weight):
        return values * ops.cast(weight, flat.dtype)[..., None]

    values = (
        weigh(cell(above, left), (1.0 - y_share) * (1.0 - x_share))
        + weigh(cell(above, right), (1.0 - y_share) * x_share)
        + weigh(cell(below, left), y_share * (1.0 - x_share))
        + weigh(cell(below, right), y_share * x_share)
    )
    return weigh(values, y_inside[:, :, None] & x_inside[:, None, :])


def flatten_levels(
    features: Sequence[Tensor], level: Tensor, image: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put the cells of all levels and images into one axis.

    Args:
        features: list of (B, h, w, K).
        level, image: (N,) int32, each RoI's level and image.

    Returns:
        flat: (cells of all levels and images, K).
        start: (N,) int32, index in ``flat`` of the first cell of each RoI's feature map.
        height, width: (N,) int32, rows and columns of that map.
    """
    channels = features[0].shape[-1]
    shapes = [ops.shape(map_)[1:3] for map_ in features]
    cells = [height * width for height, width in shapes]
    flat = ops.concatenate(
        [ops.reshape(map_, (-1, count, channels)) for map_, count in zip(features, cells)], axis=1
    )

    def of_level(values):
        return ops.take(ops.stack([ops.cast(value, "int32") for value in values]), level)

    start = image * sum(cells) + of_level([sum(cells[:number]) for number in range(len(cells))])
    height, width = (of_level(sides) for sides in zip(*shapes))
    return ops.reshape(flat, (-1, channels)), start, height, width


def neighbours(position: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what linear interpolation between cells needs.

    Args:
        position: (N, ...) float32, in cells; 0 is the first cell.
        length: (N, ...) int32, number of cells.

    Returns:
        before, after: (N, ...) int32, the cells on both sides of each position.
        share: (N, ...) float32, weight of the cell after it.
        inside: (N, ...) bool, whether the position is at most one cell outside.
    """
    inside = (position >= -1.0) & (position <= ops.cast(length, "float32"))
    clamped = ops.clip(position, 0.0, ops.cast(length - 1, "float32"))
    before = ops.cast(ops.floor(clamped), "int32")
    after = ops.minimum(before + 1, length - 1)
    return before, after, clamped - ops.cast(before, "float32"), inside
