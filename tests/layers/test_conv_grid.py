"""``conv.Conv2D`` gives the numbers of ``keras.layers.Conv2D``, whichever algorithm it takes."""

import itertools

import keras
import numpy as np
import pytest

from frcnn.layers import conv

# What the largest number may differ by, as a share of the outputs' standard deviation. bfloat16 has 8
# bits; in it the tiles are computed in float32, so they are nearer to the exact sum than Keras is.
TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 3e-2}
STEPS = ((1, 1), (2, 1), (3, 1), (1, 2))  # strides, dilation; TensorFlow has no both at once
GRID = [
    (kernel_size, strides, padding, dilation_rate)
    for kernel_size, padding in itertools.product((1, 3, (3, 1), 5), ("same", "valid"))
    for strides, dilation_rate in STEPS
]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("side", [(13, 16), (33, 34)])  # the tiles pay from about 32 cells a side on
@pytest.mark.parametrize("kernel_size, strides, padding, dilation_rate", GRID)
def test_conv2d_gives_keras_numbers(kernel_size, strides, padding, dilation_rate, side, dtype):
    channels = 128 if dtype == "float32" else 256
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *side, channels)).astype("float32")
    options = {"padding": padding, "strides": strides, "dilation_rate": dilation_rate, "dtype": dtype}
    layers = [of(channels, kernel_size, **options) for of in (keras.layers.Conv2D, conv.Conv2D)]
    bias = rng.normal(size=channels)
    for layer in layers:
        layer.build(x.shape)
        layer.set_weights([layers[0].kernel, bias])
    expected, found = (keras.ops.convert_to_numpy(keras.ops.cast(own(x), "float32")) for own in layers)
    assert found.shape == expected.shape == layers[1].compute_output_shape(x.shape)
    assert np.abs(found - expected).max() <= TOLERANCE[dtype] * expected.std()


@pytest.mark.parametrize("strides, dilation_rate", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_normalized_depthwise_convolution_gives_keras_numbers(padding, strides, dilation_rate):
    options = {"padding": padding, "strides": strides, "dilation_rate": dilation_rate, "use_bias": False}
    norm = conv.FoldedNorm(trainable=False)
    own = conv.NormalizedDepthwiseConv2D(3, **options)
    own.include(norm)
    keras_own = keras.layers.DepthwiseConv2D(3, **options)
    x = np.random.default_rng(0).normal(size=(2, 9, 12, 4)).astype("float32")
    for layer in (own, keras_own):
        layer.build(x.shape)
    keras_own.set_weights(own.get_weights())
    factor = 1 / np.sqrt(1 + norm.epsilon)  # of a new normalization: variance 1
    np.testing.assert_allclose(own(x), factor * np.asarray(keras_own(x)), atol=1e-5)
