import keras
import numpy as np
import pytest
from keras import ops

from frcnn import backend
from frcnn.layers import conv, conv_ways, winograd


def make(shape, channels, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=shape).astype("float32")
    kernel = random.normal(size=(3, 3, shape[-1], channels)).astype("float32")
    return x, kernel / np.sqrt(9 * shape[-1]).astype("float32")


@pytest.mark.parametrize(
    "shape", [(1, 4, 4, 3), (2, 9, 14, 5), (1, 1, 1, 2), (3, 7, 5, 1), (1, 24, 31, 64)]
)
def test_equals_the_sliding_kernel(shape):
    x, kernel = make(shape, 6)
    expected = ops.convert_to_numpy(ops.conv(x, kernel, padding="same"))
    actual = ops.convert_to_numpy(winograd.conv3x3(x, kernel))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * max(expected.std(), 1e-3))


def test_a_kernel_of_one_cell_moves_the_map():
    x, _ = make((1, 10, 11, 1), 1)
    kernel = np.zeros((3, 3, 1, 1), "float32")
    kernel[0, 2] = 1  # what lies above and to the right
    moved = np.zeros_like(x)
    moved[:, 1:, :-1] = x[:, :-1, 1:]
    np.testing.assert_allclose(ops.convert_to_numpy(winograd.conv3x3(x, kernel)), moved, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 9, 14, 5), (1, 8, 12, 16)])
def test_gradients_equal_those_of_the_sliding_kernel(shape):
    x, kernel = make(shape, 7)
    upstream = np.random.default_rng(1).normal(size=(*shape[:3], 7)).astype("float32")
    expected = gradients(lambda x, kernel: ops.conv(x, kernel, padding="same"), x, kernel, upstream)
    actual = gradients(winograd.conv3x3, x, kernel, upstream)
    for ours, theirs in zip(actual, expected):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * theirs.std())


def gradients(function, x, kernel, upstream):
    if not backend.IS_TENSORFLOW:
        import jax

        loss = jax.grad(lambda x, kernel: (function(x, kernel) * upstream).sum(), argnums=(0, 1))
        return [np.asarray(gradient) for gradient in loss(x, kernel)]
    import tensorflow as tf

    x, kernel = tf.constant(x), tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = function(x, kernel)
    return [gradient.numpy() for gradient in tape.gradient(y, [x, kernel], upstream)]


def test_rounding_is_as_small_as_the_docstring_says():
    x, kernel = make((1, 32, 32, 256), 32)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), (1, 2)
    )
    exact = np.einsum("bhwcij,ijck->bhwk", windows, kernel, dtype="float64", optimize=True)
    error = (ops.convert_to_numpy(winograd.conv3x3(x, kernel)) - exact) / exact.std()
    assert error.std() < 2e-6
    assert np.abs(error).max() < 2e-5


@pytest.fixture
def ways(monkeypatch):
    """Which of the two ways ran, of graphs that decide when they run."""
    taken = []
    monkeypatch.setattr(winograd, "conv3x3", lambda x, kernel: taken.append("tiles") or x[..., :1])
    monkeypatch.setattr(ops, "conv", lambda x, *_, **__: taken.append("direct") or x[..., :1])
    return taken


@pytest.mark.parametrize(
    ("shape", "channels", "dtype", "way"),
    [
        ((1, 32, 32, 128), 128, "float32", "tiles"),
        ((1, 32, 28, 128), 128, "float32", "direct"),  # 56 tiles
        ((2, 32, 28, 128), 128, "float32", "tiles"),
        ((1, 32, 32, 64), 128, "float32", "direct"),
        ((1, 32, 32, 128), 64, "float32", "direct"),
        ((1, 32, 32, 256), 256, "bfloat16", "direct"),
        ((1, 64, 64, 256), 256, "bfloat16", "tiles"),
        ((1, 64, 64, 256), 256, "float16", "direct"),
    ],
)
def test_takes_the_faster_way(shape, channels, dtype, way, ways, monkeypatch):
    monkeypatch.setattr(backend, "computes_on_cpu", lambda: True)
    choice = conv_ways.DEFAULTS.get(dtype, conv_ways.NEVER)
    winograd.conv(ops.zeros(shape, dtype), ops.zeros((3, 3, shape[-1], channels), dtype), choice)
    assert ways == [way]


def test_a_gpu_slides_the_kernel(ways, monkeypatch):
    monkeypatch.setattr(backend, "computes_on_cpu", lambda: False)
    winograd.conv(ops.zeros((1, 64, 64, 256)), ops.zeros((3, 3, 256, 256)), ((64, 1),))
    assert ways == ["direct"]


@pytest.mark.skipif(not backend.IS_TENSORFLOW, reason="only TensorFlow leaves sizes open in a graph")
def test_one_graph_serves_maps_of_both_kinds():
    import tensorflow as tf

    layer = conv.Conv2D(128, 3, padding="same", activation="relu")
    layer.build((None, None, None, 128))
    run = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 128))])
    for sides in ((31, 34), (8, 9)):
        x, _ = make((1, *sides, 128), 1)
        expected = np.maximum(ops.conv(x, layer.kernel, padding="same") + layer.bias, 0)
        np.testing.assert_allclose(run(x), expected, atol=3e-5)
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("settings", [{"strides": 2}, {"padding": "valid"}, {"dilation_rate": 2}])
def test_other_convolutions_stay_keras_own(settings):
    settings = {"padding": "same", **settings}
    x, _ = make((1, 40, 40, 128), 1)
    ours, keras_own = conv.Conv2D(128, 3, **settings), keras.layers.Conv2D(128, 3, **settings)
    ours.build(x.shape)
    keras_own.build(x.shape)
    keras_own.set_weights(ours.get_weights())
    np.testing.assert_array_equal(ours(x), keras_own(x))
