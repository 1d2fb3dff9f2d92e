"""RoIPool: the largest feature in each bin of a region of interest, at one or several levels.

Girshick 2015 (Fast R-CNN), section 2.1; what Ren et al. 2015 trained with, before RoIAlign
(``frcnn.layers.roi_align``). Letters as there.

A RoI is rounded to whole cells, its last row and column included, and cut into P x P bins that may
share a row or column; a bin beyond the map is 0. Which cell wins is found first, without a gradient;
what is returned is then gathered from those cells, so that the gradient goes to them alone.
"""

import keras
from keras import ops

from frcnn.layers.roi_align import flatten_levels, flatten_rois


@keras.saving.register_keras_serializable(package="frcnn")
class RoIPool(keras.layers.Layer):
    """Pool a list of (B, h, w, K) features, finest first, in (B, R, 4) RoIs to (B, R, P, P, K).

    Args:
        strides: pixels of the network input a feature cell, for each level.
        pool_size: P.
    """

    def __init__(self, strides, pool_size=7, **kwargs):
        # Not cast to float16 under mixed precision, which knows 700.3 only as 700.5.
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.pool_size = pool_size

    def call(self, features, rois):
        batch, count = ops.shape(rois)[:2]
        image, rois, level = flatten_rois(rois, self.strides)
        flat, start, height, width = flatten_levels(features, level, image)

        stride = ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
        # Halves away from zero, as C rounds; ops.round takes them to the even number.
        cells = ops.cast(ops.sign(rois) * ops.floor(ops.abs(rois) / stride + 0.5), "int32")
        left, right = _bins(cells[:, 0], cells[:, 2], width, self.pool_size)
        top, bottom = _bins(cells[:, 1], cells[:, 3], height, self.pool_size)
        winner = _largest(ops.stop_gradient(flat), start, width, (top, bottom), (left, right))

        channels = flat.shape[-1]
        place = ops.maximum(winner, 0) * channels + ops.arange(channels, dtype="int32")
        values = ops.take(ops.reshape(flat, (-1,)), place, axis=0)
        values = ops.where(winner >= 0, values, ops.zeros_like(values))
        return ops.reshape(values, (batch, count, *values.shape[1:]))

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[0][-1])

    def get_config(self):
        return {**super().get_config(), "strides": self.strides, "pool_size": self.pool_size}


def _bins(first, last, length, count):
    """Return the first cell of each bin and the one after its last, (N, P) int32, within the map.

    Args:
        first, last: (N,) int32 cells of the RoI's edges, which belong to it.
        length: (N,) int32 cells of the map.
        count: P.
    """
    first, length = first[:, None], length[:, None]
    size = ops.maximum(last[:, None] - first + 1, 1)
    bins = ops.arange(count, dtype="int32")
    # In whole numbers: as fractions, a bin that ends with the RoI may end a rounding error later.
    start = first + bins * size // count
    end = first - (-(bins + 1) * size) // count
    return tuple(ops.minimum(ops.maximum(edge, 0), length) for edge in (start, end))


def _largest(flat, start, width, rows, columns):
    """Return which cell is the largest in each bin, (N, P, P, K) int32 rows of ``flat``; -1: no cell.

    All bins are walked at once, cell by cell, as far as the largest bin goes: fixed shapes, as XLA
    wants them.

    Args:
        flat: (cells of all maps, K).
        start, width: (N,) int32, where each RoI's map begins in ``flat``, and its cells a row.
        rows, columns: the (first, end) of ``_bins``.
    """
    (top, bottom), (left, right) = rows, columns
    most_columns = ops.maximum(ops.max(right - left), 1)
    steps = ops.max(bottom - top) * most_columns

    def look(step, best):
        value, winner = best
        row, column = top + step // most_columns, left + step % most_columns
        inside = (row < bottom)[:, :, None] & (column < right)[:, None, :]
        cell = start[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None, :]
        cell = ops.where(inside, cell, 0)
        found = ops.take(flat, cell, axis=0)
        # Strictly: of equals the first wins, as in other implementations.
        better = inside[..., None] & ((found > value) | (winner < 0))
        return ops.where(better, found, value), ops.where(better, cell[..., None], winner)

    shape = (ops.shape(top)[0], top.shape[1], left.shape[1], flat.shape[-1])
    nothing = ops.zeros(shape, flat.dtype), ops.full(shape, -1, dtype="int32")
    return ops.fori_loop(0, steps, look, nothing)[1]
