"""3x3 convolutions by the two ways that ``frcnn.layers.winograd`` chooses from."""

import time

import numpy as np

# Height, width, channels in and out of those in VGG16 and ResNet-50 with a pyramid, at 600x800.
SHAPES = (
    (300, 400, 128, 128),
    (150, 200, 128, 256),
    (150, 200, 256, 256),
    (75, 100, 256, 512),
    (75, 100, 512, 512),
    (38, 50, 512, 512),
    (75, 100, 128, 128),
    (38, 50, 256, 256),
    (19, 25, 512, 512),
    (19, 25, 256, 256),
)


def measure(shape, dtype, times):
    """Time one convolution, forward and forward with both gradients. The two ways run in turn.

    Args:
        shape: height, width and channels, as in ``SHAPES``.
        dtype: dtype of the feature map and the kernel.
        times: number of turns.

    Returns:
        {"forward" or "with gradients": (seconds by tiles, seconds of the sliding kernel)}, medians.
    """
    import tensorflow as tf

    from frcnn.layers import winograd

    height, width, inwards, outwards = shape
    rng = np.random.default_rng(0)
    sizes = ((1, height, width, inwards), (3, 3, inwards, outwards), (1, height, width, outwards))
    x, kernel, upstream = (tf.cast(rng.normal(0, 0.05, size), dtype) for size in sizes)

    found = {}
    for name, wrap in (("forward", lambda way: way), ("with gradients", _with_gradients(upstream))):
        ways = [tf.function(wrap(way)) for way in (winograd.by_tiles, winograd.sliding)]
        seconds = [_timed(way, x, kernel) for _ in range(times + 1) for way in ways]
        found[name] = tuple(np.median(np.reshape(seconds, (-1, 2))[1:], axis=0).tolist())
    return found


def _with_gradients(upstream):
    import tensorflow as tf

    def wrap(way):
        def run(x, kernel):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = way(x, kernel)
            return y, tape.gradient(y, [x, kernel], upstream)

        return run

    return wrap


def _timed(function, *arguments):
    start = time.perf_counter()
    function(*arguments)  # TensorFlow without a GPU returns when it is done
    return time.perf_counter() - start
