"""3x3 convolution with a quarter of the multiplications: Winograd's algorithm.

Lavin and Gray 2016 ("Fast algorithms for convolutional neural networks"), section 4.1: F(4x4, 3x3). A
window of 6x6 cells and the 3x3 kernel are each transformed into 36 numbers. Their products, summed over
the channels, are transformed back into a tile of 4x4 output cells. This takes 36 multiplications, the
usual convolution 144. The sums over the channels are 36 matrix products.

For few tiles or few channels the library's kernel is faster: the kernel has to be transformed whatever
the size of the map, and the transformed windows are written to memory and read again.
``frcnn.layers.conv_ways`` chooses. On GPUs the library already has this algorithm.

The interpolation points are 0, ±3/4, ±3/2 and infinity, not 0, ±1, ±2 and infinity as in the paper: then
the mean rounding error is 1.3e-6 of the output's standard deviation, half of the paper's, and the
largest one 1e-5, a fifth of the paper's (256 channels, float32).

B: images, h x w: feature map, C: channels in, K: channels out, T: tiles in the batch.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from frcnn import backend
from frcnn.config.conv_tiles import Tiles
from frcnn.layers import conv_ways

Tensor = Any

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
TILE = 4  # output cells along a side of a tile
WINDOW = TILE + 2  # input cells along a side of the window that a tile depends on


def conv(x: Tensor, kernel: Tensor, tiles_from: Tiles | None = None) -> Tensor:
    """Convolve with stride 1 and padding "same", by the faster of two ways.

    Args:
        x: (B, h, w, C).
        kernel: (3, 3, C, K).
        tiles_from: the table that ``frcnn.layers.conv_ways`` explains; None: the default of the dtype.

    Returns:
        (B, h, w, K) in the dtype of ``x``.
    """
    if not backend.has_native_kernels() or not backend.computes_on_cpu():
        return sliding(x, kernel)
    if tiles_from is None:
        tiles_from = conv_ways.default(keras.backend.standardize_dtype(x.dtype))
    least = conv_ways.least_tiles(tiles_from, min(kernel.shape[2:]))
    if least is None:
        return sliding(x, kernel)
    rows, columns = _counts(x)
    enough = ops.shape(x)[0] * rows * columns >= least
    return ops.cond(enough, lambda: by_tiles(x, kernel), lambda: sliding(x, kernel))


def sliding(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve as ``conv`` does, by the library's kernel."""
    return ops.conv(x, kernel, padding="same")


def by_tiles(x: Tensor, kernel: Tensor) -> Tensor:
    """Convolve as ``conv`` does, by tiles. It computes in float32, because bfloat16 is too coarse."""
    return ops.cast(conv3x3(ops.cast(x, "float32"), ops.cast(kernel, "float32")), x.dtype)


@ops.custom_gradient
def conv3x3(x: Tensor, kernel: Tensor) -> Any:
    """Convolve (B, h, w, C) and (3, 3, C, K) with stride 1 and padding "same": (B, h, w, K).

    The gradients of both are computed by tiles as well.
    """
    windows = _transform(INPUT, _windows(x, WINDOW, 1))
    products = ops.matmul(windows, _transform(KERNEL, ops.reshape(kernel, (9, *kernel.shape[2:]))))
    result = _assemble(_transform(OUTPUT, products), x)

    def gradients(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        # Of the input: a convolution with the kernel rotated by 180 degrees, C and K swapped.
        turned = ops.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        # Of the kernel: the transposed transforms, from the output back to the kernel.
        products = _transform(OUTPUT.T, _windows(upstream, TILE, 0))
        by_point = ops.matmul(ops.transpose(windows, (0, 2, 1)), products)
        return conv3x3(upstream, turned), ops.reshape(_transform(KERNEL.T, by_point), kernel.shape)

    return result, gradients


def _cook_toom():
    """Return the matrices of the three transforms along one axis: output, kernel, input.

    The product of two polynomials can be computed from their values at ``POINTS`` and infinity. The
    coefficients of the product are a convolution. The transposed algorithm gives the correlation, which
    networks call convolution.
    """
    points = np.array(POINTS)
    output = np.zeros((TILE, WINDOW))
    output[:, :-1] = points ** np.arange(TILE)[:, None]
    output[-1, -1] = 1
    kernel, window = np.zeros((WINDOW, 3)), np.zeros((WINDOW, WINDOW))
    for row, point in enumerate(points):
        others = np.delete(points, row)
        kernel[row] = point ** np.arange(3) / np.prod(point - others)
        window[row, :-1] = np.poly(others)[::-1]
    kernel[-1, -1] = 1
    window[-1] = np.poly(points)[::-1]
    return output, kernel, window


# The transforms along both axes at once, of windows and tiles that are flattened into one column.
OUTPUT, KERNEL, INPUT = (np.kron(side, side).astype("float32") for side in _cook_toom())


def _transform(matrix, x):
    """Multiply the first axis of (n, T, C) by an (m, n) matrix: (m, T, C)."""
    matrix = ops.cast(ops.convert_to_tensor(matrix), x.dtype)
    _, count, channels = ops.shape(x)
    return ops.reshape(ops.matmul(matrix, ops.reshape(x, (matrix.shape[1], -1))), (-1, count, channels))


def _counts(x):
    """Return the numbers of rows and columns of tiles that cover a map."""
    _, height, width, _ = ops.shape(x)
    return -(-height // TILE), -(-width // TILE)


def _windows(x, side, border):
    """Return the windows of ``side`` x ``side`` cells that start every ``TILE`` cells.

    Args:
        x: (B, h, w, C). It is padded by zeros: ``border`` cells on each side, and more below and on the
            right until the last tiles are complete.
        side: of a window, cells.
        border: cells.

    Returns:
        (side · side, T, C).
    """
    rows, columns = _counts(x)
    _, height, width, _ = ops.shape(x)
    down, right = TILE * rows - height + border, TILE * columns - width + border
    x = ops.pad(x, ((0, 0), (border, down), (border, right), (0, 0)))
    batch, height, width, channels = ops.shape(x)
    inside = ops.arange(side)[:, None] * width + ops.arange(side)
    first_rows = ops.arange(batch)[:, None] * height + TILE * ops.arange(rows)
    first = first_rows[..., None] * width + TILE * ops.arange(columns)
    cells = ops.reshape(inside, (-1, 1)) + ops.reshape(first, (-1,))
    return ops.take(ops.reshape(x, (-1, channels)), cells, axis=0)


def _assemble(tiles, like):
    """Join tiles (16, T, K) to a map (B, h, w, K) with the sides of ``like`` (B, h, w, C)."""
    rows, columns = _counts(like)
    batch, height, width, _ = ops.shape(like)
    channels = tiles.shape[-1]
    y = ops.reshape(tiles, (TILE, TILE, batch, rows, columns, channels))
    y = ops.reshape(ops.transpose(y, (2, 3, 0, 4, 1, 5)), (batch, TILE * rows, TILE * columns, channels))
    return y[:, :height, :width]
