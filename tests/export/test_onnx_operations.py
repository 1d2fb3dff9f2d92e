"""ONNX's own RoiAlign against the layer that is trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from frcnn.layers.roi_align import RoIAlign
from frcnn.ops.anchors import AnchorGenerator

pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: pip install frcnn[export]")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from frcnn.export import onnx_file, roi_products  # noqa: E402


def on_onnxruntime(layer, features, rois):
    """Return what the layer gives as an ONNX graph whose sizes are all open."""
    shapes = [(None, None, None, map_.shape[-1]) for map_ in features] + [(None, None, 4)]
    signature = [tf.TensorSpec(shape, tf.float32, f"x{at}") for at, shape in enumerate(shapes)]

    def pool(*inputs):
        with onnx_file.kernels():
            return {"pooled": layer(list(inputs[:-1]), inputs[-1])}

    model = onnx_file.converted(tf.function(pool, input_signature=signature, autograph=False))
    assert [node.op_type for node in model.graph.node].count("RoiAlign") == len(features)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = {f"x{at}": array for at, array in enumerate((*features, rois))}
    return session.run(["pooled"], given)[0]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("strides", [(16,), (8, 16, 32)])
def test_it_pools_what_the_layer_pools(aligned, strides):
    rng = np.random.default_rng(len(strides))
    features = [
        rng.normal(size=(2, 400 // stride, 320 // stride, 5)).astype("float32") for stride in strides
    ]
    corners = rng.uniform(-60, 300, (2, 30, 2))
    # Beyond the edges, and empty ones, which fill a batch. The last of three levels gets none.
    rois = np.concatenate([corners, corners + rng.uniform(0, 400, (2, 30, 2))], -1).astype("float32")
    rois[:, -3:] = 0.0
    layer = RoIAlign(strides, pool_size=3, samples=2, aligned=aligned)
    expected = np.asarray(layer(features, rois))
    np.testing.assert_allclose(on_onnxruntime(layer, features, rois), expected, atol=1e-4)
    assert (expected == 0).any() and expected.any()


@pytest.mark.parametrize("aligned", [True, False])
def test_products_pool_what_the_layer_pools(aligned):
    rng = np.random.default_rng(1)
    features = tf.constant(rng.normal(size=(1, 11, 9, 5)), tf.float32)
    corners = rng.uniform(-40, 120, (30, 2))
    # Beyond the edges, and an empty one, which fills a batch.
    rois = np.concatenate([corners, corners + rng.uniform(0, 120, (30, 2))], -1).astype("float32")
    rois[-1] = 0.0
    layer = RoIAlign((16,), pool_size=14, samples=2, aligned=aligned)
    cells = tf.constant(rois / 16.0)
    assert roi_products.fits(features, cells, 14, 2)
    found = roi_products.roi_align(features, cells, 14, 2, aligned)
    np.testing.assert_allclose(found, layer([features], rois[None])[0], atol=1e-5)
    # Many cells for few bins, and an open size.
    assert not roi_products.fits(tf.zeros((1, 100, 200, 5)), cells, 7, 2)
    assert not roi_products.fits(keras.Input((None, None, 5), 1), cells, 14, 2)


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_division_rounds_down_for_either_sign(dtype):
    dividends = np.array([-64, -33, -32, -31, -1, 0, 1, 31, 32, 33, -5, 5], dtype)
    divisors = np.array([32] * 10 + [-3, -3], dtype)
    signature = [tf.TensorSpec((None,), dtype, name) for name in ("a", "b")]

    def divide(a, b):
        return {"quotient": a // b, "rest": a % b}

    model = onnx_file.converted(tf.function(divide, input_signature=signature, autograph=False))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = session.run(["quotient", "rest"], {"a": dividends, "b": divisors})
    np.testing.assert_array_equal(found, [dividends // divisors, dividends % divisors])


@pytest.mark.parametrize("height, width", [(64, 96), (96, 64), (224, 320), (608, 416)])
def test_anchors_of_an_open_size_are_those_of_a_known_one(height, width):
    generator = AnchorGenerator((32, 64, 128), (0.5, 1.0), (16, 32, 64), size_per_level=True)
    shape = tf.TensorSpec((None, None, 3), tf.float32, "image")

    def anchors(image):
        found, counts = generator(*tf.unstack(tf.shape(image)[:2]))
        return {"anchors": found, "counts": tf.stack(counts)}

    model = onnx_file.converted(tf.function(anchors, input_signature=[shape], autograph=False))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.zeros((height, width, 3), "float32")
    found, counts = session.run(["anchors", "counts"], {"image": image})
    expected, expected_counts = generator(height, width)
    np.testing.assert_array_equal(found, np.asarray(expected))
    assert counts.tolist() == expected_counts


def test_a_large_kernel_is_stored_and_not_an_input():
    rng = np.random.default_rng(3)
    dense = keras.layers.Dense(5)
    x = rng.normal(size=(4, 6)).astype("float32")
    expected = np.asarray(dense(x))
    signature = [tf.TensorSpec((None, 6), tf.float32, "x")]
    serve = tf.function(lambda x: {"y": dense(x)}, input_signature=signature, autograph=False)
    model = onnx_file.converted(serve, [dense.kernel])
    assert [one.name for one in model.graph.input] == ["x"]
    (stored,) = [one for one in model.graph.initializer if list(one.dims) == [6, 5]]
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored), dense.kernel)
    # Smaller weights find it by the operation that reads it.
    assert stored.name in [node.input[1] for node in model.graph.node if node.op_type == "MatMul"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], expected, atol=1e-6)
