"""3x3 convolution with a quarter of the multiplications: Winograd's algorithm.

Lavin and Gray 2016 ("Fast algorithms for convolutional neural networks"), section 4.1: F(4x4, 3x3). A
tile of 6x6 cells and the 3x3 kernel are each transformed into 36 numbers; their products, summed over
channels, transform back into 4x4 cells of output. That takes 36 multiplications where the sliding
kernel takes 144, and the sums over channels are 36 matrix products.

Letters: B images, h and w feature map, C channels in, K channels out, T tiles in the batch.

The kernel's transform costs the same for any map, and what a tile becomes has to go through memory.
So few tiles or few channels are faster by the library's own kernel: ``frcnn.layers.conv_ways`` decides.
A GPU's library has this algorithm itself.

Decided here: the points that the transforms interpolate at are 0, ±3/4, ±3/2 and infinity. Rounding
errors are 1.3e-6 of the output's standard deviation, half those of the paper's 0, ±1, ±2, and at most
1e-5, a fifth of them (256 channels, float32).
"""

import keras
import numpy as np
from keras import ops

from frcnn import backend
from frcnn.layers import conv_ways

POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
TILE = 4  # cells of output along a side
WINDOW = TILE + 2  # cells of input that they depend on


def conv(x, kernel, tiles_from=None):
    """Convolve with stride 1 and a border of zeros, by the faster of two ways.

    Args:
        x: (B, h, w, C).
        kernel: (3, 3, C, K).
        tiles_from: the choice, as ``frcnn.layers.conv_ways`` has it; None: its default for the dtype.

    Returns:
        (B, h, w, K) in the dtype of ``x``.
    """
    if not backend.has_native_kernels() or not backend.computes_on_cpu():
        return sliding(x, kernel)  # another runtime has its own fast way
    if tiles_from is None:
        tiles_from = conv_ways.default(keras.backend.standardize_dtype(x.dtype))
    least = conv_ways.least_tiles(tiles_from, min(kernel.shape[2:]))
    if least is None:
        return sliding(x, kernel)
    rows, columns = _counts(x)
    enough = ops.shape(x)[0] * rows * columns >= least
    return ops.cond(enough, lambda: by_tiles(x, kernel), lambda: sliding(x, kernel))


def sliding(x, kernel):
    """Convolve as ``conv`` does, by the library's own way."""
    return ops.conv(x, kernel, padding="same")


def by_tiles(x, kernel):
    """Convolve as ``conv`` does, by tiles: in float32, as bfloat16 is too coarse for them."""
    return ops.cast(conv3x3(ops.cast(x, "float32"), ops.cast(kernel, "float32")), x.dtype)


@ops.custom_gradient
def conv3x3(x, kernel):
    """Convolve (B, h, w, C) and (3, 3, C, K) with stride 1 and a border of zeros: (B, h, w, K).

    Gradients for both are computed the same way.
    """
    windows = _transform(INPUT, _windows(x, WINDOW, 1))
    products = ops.matmul(windows, _transform(KERNEL, ops.reshape(kernel, (9, *kernel.shape[2:]))))
    result = _assemble(_transform(OUTPUT, products), x)

    def gradients(*args, upstream=None):
        (upstream,) = args if upstream is None else (upstream,)
        # The input's is a convolution with the kernel turned by 180 degrees, output for input.
        turned = ops.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
        # The kernel's goes the way of the output backwards.
        products = _transform(OUTPUT.T, _windows(upstream, TILE, 0))
        by_point = ops.matmul(ops.transpose(windows, (0, 2, 1)), products)
        return conv3x3(upstream, turned), ops.reshape(_transform(KERNEL.T, by_point), kernel.shape)

    return result, gradients


def _cook_toom():
    """Return the matrices of the three transforms along one side: output, kernel, input.

    Polynomials of ``WINDOW - 1`` values are multiplied by their values at ``POINTS`` and infinity, which
    is a convolution; the transposed algorithm is the correlation that networks mean by the word.
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


# Along both sides at once: of tiles laid out as one column.
OUTPUT, KERNEL, INPUT = (np.kron(side, side).astype("float32") for side in _cook_toom())


def _transform(matrix, x):
    """Multiply the first axis of (n, T, C) by an (m, n) matrix: (m, T, C)."""
    matrix = ops.cast(ops.convert_to_tensor(matrix), x.dtype)
    _, count, channels = ops.shape(x)
    return ops.reshape(ops.matmul(matrix, ops.reshape(x, (matrix.shape[1], -1))), (-1, count, channels))


def _counts(x):
    """Return the number of tiles that cover a map from above to below and from left to right."""
    _, height, width, _ = ops.shape(x)
    return -(-height // TILE), -(-width // TILE)


def _windows(x, side, border):
    """Return what each tile depends on, windows of ``side`` cells that start every ``TILE`` cells.

    ``x`` (B, h, w, C) has ``border`` zeros on each side, and more where the last tiles stick out:
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
    """Put tiles (16, T, K) together to a map of the sides of ``like``: (B, h, w, K)."""
    rows, columns = _counts(like)
    batch, height, width, _ = ops.shape(like)
    channels = tiles.shape[-1]
    y = ops.reshape(tiles, (TILE, TILE, batch, rows, columns, channels))
    y = ops.reshape(ops.transpose(y, (2, 3, 0, 4, 1, 5)), (batch, TILE * rows, TILE * columns, channels))
    return y[:, :height, :width]
