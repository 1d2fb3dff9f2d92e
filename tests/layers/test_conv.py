"""A convolution with its normalization folded in is the two of them; and where frozen layers end."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from frcnn.layers import conv
from frcnn.models import freezing


def network(depthwise, trainable):
    """Return a convolution with a random normalization, an input, and what they give for it."""
    x = keras.Input((9, 9, 6))
    y = conv.conv_bn(x, 6, 3, ("conv", "norm"), 2, "relu", trainable_norm=trainable, depthwise=depthwise)
    model, rng = keras.Model(x, y), np.random.default_rng(0)
    norm = model.get_layer("norm")
    for variable in norm.weights:
        variable.assign(rng.uniform(0.5, 2.0, variable.shape))
    images = rng.normal(size=(2, 9, 9, 6)).astype("float32")
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    convolve = ops.depthwise_conv if depthwise else ops.conv
    raw = np.asarray(convolve(padded, model.get_layer("conv").kernel, 2, "valid"))
    gamma, beta, mean, variance = (np.asarray(variable) for variable in norm.weights)
    expected = np.maximum((raw - mean) / np.sqrt(variance + conv.EPSILON) * gamma + beta, 0)
    return model, images, expected


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_frozen_normalization_is_folded_into_its_convolution(depthwise, training):
    model, images, expected = network(depthwise, trainable=False)
    np.testing.assert_allclose(model(images, training=training), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_trained_normalization_uses_the_batch_s_statistics_in_training_alone(depthwise):
    model, images, expected = network(depthwise, trainable=True)
    np.testing.assert_allclose(model(images, training=False), expected, rtol=1e-4, atol=1e-5)
    before = np.asarray(model.get_layer("norm").moving_mean)
    trained = np.asarray(model(images, training=True))
    assert np.abs(trained - expected).max() > 0.1
    assert (np.asarray(model.get_layer("norm").moving_mean) != before).all()


def test_each_layer_has_its_own_weights():
    model, *_ = network(depthwise=False, trainable=True)
    assert [len(model.get_layer(name).weights) for name in ("conv", "norm")] == [1, 4]


def test_the_kernel_s_gradient_goes_through_the_factor(gradient):
    model, images, _ = network(depthwise=False, trainable=False)
    convolution, norm = model.get_layer("conv"), model.get_layer("norm")
    start = np.asarray(convolution.kernel).copy()
    gamma, _, _, variance = (np.asarray(variable) for variable in norm.weights)
    factor = gamma / np.sqrt(variance + conv.EPSILON)
    upstream = np.random.default_rng(1).normal(size=(2, 4, 4, 6)).astype("float32")
    slope = gradient(
        lambda kernel: ops.sum(ops.conv(images, kernel * factor, 2, "valid") * upstream), start
    )
    plain = gradient(lambda kernel: ops.sum(ops.conv(images, kernel, 2, "valid") * upstream), start)
    np.testing.assert_allclose(slope, plain * factor, rtol=1e-4, atol=1e-4)


# --- where what is frozen ends ------------------------------------------------------------------


def chain(trainable):
    """Return input and output of five convolutions, the third beside a shortcut."""
    start = x = keras.Input((8, 8, 3), name="start")
    tensors = [x]
    for number, flag in enumerate(trainable):
        y = layers.Conv2D(3, 3, padding="same", trainable=flag, name=f"c{number}")(x)
        x = layers.Add(name=f"a{number}")([x, y]) if number == 2 else y
        tensors.append(x)
    return start, x, tensors


@pytest.mark.parametrize(
    "trainable, place",
    [("00111", 2), ("00011", 3), ("01011", 1), ("10000", None), ("11111", None), ("00000", 5)],
)
def test_what_is_frozen_ends_before_the_first_trained_layer(trainable, place):
    start, end, tensors = chain([flag == "1" for flag in trainable])
    found = freezing.frozen_end(start, [end])
    assert found is (None if place is None else tensors[place])


def test_everything_goes_through_the_frozen_end():
    """A pyramid takes from a frozen stage, too: what is handed on must hold that."""
    start, end, tensors = chain([False, False, False, False, True])
    assert freezing.frozen_end(start, [tensors[2], end]) is tensors[2]


def test_pooling_alone_is_no_frozen_layer():
    start = keras.Input((8, 8, 3))
    end = layers.Conv2D(3, 3)(layers.MaxPooling2D()(start))
    assert freezing.frozen_end(start, [end]) is None
