"""RoIPool: the largest feature in each bin of a region of interest, at one or several levels.

Girshick 2015 (Fast R-CNN), section 2.1. Ren et al. 2015 trained with it.

A RoI is rounded to whole cells, its last row and column included, and divided into P x P bins.
Neighbouring bins may share a row or column. A bin outside the map is 0. First the cell with the largest
value is found in each bin, without a gradient. Then the values of these cells are gathered, so only they
get a gradient.

B: images, h x w: feature map, K: channels, R: RoIs, P: pool size, N = B·R: RoIs of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from frcnn.layers.roi_align import flatten_levels, flatten_rois

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class RoIPool(keras.layers.Layer):
    """Pool RoIs by RoIPool.

    Inputs: a list of features (B, h, w, K), the finest first, and rois (B, R, 4). Output: (B, R, P, P,
        K).

    Args:
        strides: pixels of the network input per feature cell, for each level.
        pool_size: P.
    """

    def __init__(self, strides: Sequence[int], pool_size: int = 7, **kwargs: Any):
        # Under mixed precision the RoIs must not be cast to float16, in which 700.3 becomes 700.5.
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.pool_size = pool_size

    def call(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        batch, count = ops.shape(rois)[:2]
        image, rois, level = flatten_rois(rois, self.strides)
        flat, start, height, width = flatten_levels(features, level, image)

        stride = ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
        # Halves are rounded away from zero, as in C. ops.round would round them to the even number.
        cells = ops.cast(ops.sign(rois) * ops.floor(ops.abs(rois) / stride + 0.5), "int32")
        left, right = _bins(cells[:, 0], cells[:, 2], width, self.pool_size)
        top, bottom = _bins(cells[:, 1], cells[:, 3], height, self.pool_size)
        largest = _largest_cells(ops.stop_gradient(flat), start, width, (top, bottom), (left, right))

        channels = flat.shape[-1]
        index = ops.maximum(largest, 0) * channels + ops.arange(channels, dtype="int32")
        values = ops.take(ops.reshape(flat, (-1,)), index, axis=0)
        values = ops.where(largest >= 0, values, ops.zeros_like(values))
        return ops.reshape(values, (batch, count, *values.shape[1:]))

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": self.strides, "pool_size": self.pool_size}


def _bins(first, last, length, count):
    """Return the bins of RoIs along one axis, clipped to the map.

    Args:
        first, last: (N,) int32, the first and the last cell of each RoI.
        length: (N,) int32, number of cells of the map.
        count: P.

    Returns:
        (N, P) int32 first cell of each bin, and (N, P) int32 cell after its last one.
    """
    first, length = first[:, None], length[:, None]
    size = ops.maximum(last[:, None] - first + 1, 1)
    bins = ops.arange(count, dtype="int32")
    # Integers, because with floats a rounding error could make the last bin longer than the RoI.
    start = first + bins * size // count
    end = first - (-(bins + 1) * size) // count
    return tuple(ops.minimum(ops.maximum(edge, 0), length) for edge in (start, end))


def _largest_cells(flat, start, width, rows, columns):
    """Return the cell with the largest value in each bin and channel.

    A loop compares the first cells of all bins, then the second cells, and so on up to the size of the
    largest bin. So all shapes are fixed, as XLA needs them.

    Args:
        flat: (cells of all maps, K).
        start, width: (N,) int32, index in ``flat`` of the first cell of each RoI's map, and its columns.
        rows, columns: the results of ``_bins`` for both axes.

    Returns:
        (N, P, P, K) int32 indices into ``flat``; -1 for a bin without a cell.
    """
    (top, bottom), (left, right) = rows, columns
    most_columns = ops.maximum(ops.max(right - left), 1)
    steps = ops.max(bottom - top) * most_columns

    def compare(step, best):
        value, largest = best
        row, column = top + step // most_columns, left + step % most_columns
        inside = (row < bottom)[:, :, None] & (column < right)[:, None, :]
        cell = start[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None, :]
        cell = ops.where(inside, cell, 0)
        found = ops.take(flat, cell, axis=0)
        # Of equal values the first cell is taken, as in other implementations.
        better = inside[..., None] & ((found > value) | (largest < 0))
        return ops.where(better, found, value), ops.where(better, cell[..., None], largest)

    shape = (ops.shape(top)[0], top.shape[1], left.shape[1], flat.shape[-1])
    nothing = ops.zeros(shape, flat.dtype), ops.full(shape, -1, dtype="int32")
    return ops.fori_loop(0, steps, compare, nothing)[1]
