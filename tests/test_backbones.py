"""The backbones: what they hand on, what is frozen, and the preprocessing inside.

Their layers are made without weights, and images are small: only shapes and bookkeeping are tested.
"""

import keras
import numpy as np
import pytest

from frcnn.backbones import BACKBONES, Preprocess

# stride, channels, pool size that the tail wants
PROPERTIES = {
    "vgg16": (16, 512, None),
    "resnet50": (16, 1024, 14),
    "mobilenet_v2": (16, 576, 14),
    "tiny": (8, 128, None),
}


def built(name, frozen):
    images = keras.Input((None, None, 3))
    backbone = BACKBONES[name].build(images, frozen)
    return backbone, keras.Model(images, backbone.features)


def trainable_layers(model):
    return [layer.name for layer in model.layers if layer.trainable_variables]


@pytest.mark.parametrize("name", PROPERTIES)
def test_stride_and_channels(name):
    stride, channels, pool_size = PROPERTIES[name]
    backbone, network = built(name, frozen=True)
    assert (backbone.stride, backbone.features.shape[-1], backbone.pool_size) == PROPERTIES[name]
    # A padded image is a multiple of the stride, and each cell has its patch of it.
    assert network.compute_output_shape((2, 64, 96, 3)) == (2, 64 // stride, 96 // stride, channels)


def test_features_are_computed_at_that_stride():
    _, network = built("mobilenet_v2", frozen=True)
    assert network(np.zeros((1, 32, 64, 3), "float32")).shape == (1, 2, 4, 576)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_the_tail_halves_pooled_rois(name):
    backbone, _ = built(name, frozen=True)
    channels = backbone.features.shape[-1]
    _, height, width, out = backbone.tail.compute_output_shape((5, 14, 14, channels))
    assert (height, width) == (7, 7)
    assert out == {"resnet50": 2048, "mobilenet_v2": 1280}[name]


def test_vgg16_ends_before_its_last_pooling_and_freezes_two_blocks():
    backbone, network = built("vgg16", frozen=True)
    assert backbone.tail is None and network.layers[-1].name == "block5_conv3"
    assert trainable_layers(network) == [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]


def test_resnet50_freezes_two_stages_and_every_batch_norm():
    backbone, network = built("resnet50", frozen=True)
    # Stages 3 and 4 learn here, stage 5 in the head; of none the batch norm.
    stages = {name.split("_")[0] for name in trainable_layers(network)}
    assert stages == {"conv3", "conv4"}
    assert {name.split("_")[0] for name in trainable_layers(backbone.tail)} == {"conv5"}
    norms = [layer for part in (network, backbone.tail) for layer in part.layers if "_bn" in layer.name]
    assert len(norms) == 53 and not any(layer.trainable for layer in norms)


def test_mobilenet_v2_freezes_its_start_and_every_batch_norm():
    backbone, network = built("mobilenet_v2", frozen=True)
    norms = [
        layer
        for part in (network, backbone.tail)
        for layer in part.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 52 and not any(layer.trainable for layer in norms)
    assert not network.get_layer("Conv1").trainable and not network.get_layer("block_2_expand").trainable
    assert network.get_layer("block_3_expand").trainable


def test_frozen_batch_norm_keeps_its_statistics():
    """Even when called in training: they are those of the weights, not of one or two images."""
    _, network = built("mobilenet_v2", frozen=True)
    before = network.get_weights()
    network(np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32"), training=True)
    for one, other in zip(before, network.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2"])
def test_without_pretrained_weights_everything_learns(name):
    _, network = built(name, frozen=False)
    assert all(layer.trainable for layer in network.layers)


@pytest.mark.parametrize("frozen", [True, False])
def test_tiny_learns_throughout_and_is_small(frozen):
    _, network = built("tiny", frozen)
    assert all(layer.trainable for layer in network.layers)
    assert 200_000 < network.count_params() < 500_000


# --- preprocessing ---------------------------------------------------------------------------

ORANGE = np.array([[[[255.0, 127.5, 0.0]]]], "float32")  # red, green, blue


@pytest.mark.parametrize(
    "mode, expected",
    [
        # Blue, green, red, less the mean of each.
        ("caffe", [0 - 103.939, 127.5 - 116.779, 255 - 123.68]),
        # In 0..1, less the mean, over the deviation.
        ("torch", [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0 - 0.406) / 0.225]),
        ("tf", [1, 0, -1]),
        ("none", [1, 0.5, 0]),
    ],
)
def test_preprocessing_by_hand(mode, expected):
    np.testing.assert_allclose(np.asarray(Preprocess(mode)(ORANGE))[0, 0, 0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2"])
def test_preprocessing_is_that_of_keras_applications(name):
    module = {"vgg16": "vgg16", "resnet50": "resnet", "mobilenet_v2": "mobilenet_v2"}[name]
    images = np.random.default_rng(0).uniform(0, 255, (1, 4, 4, 3)).astype("float32")
    expected = getattr(keras.applications, module).preprocess_input(images.copy())
    found = Preprocess(BACKBONES[name].preprocessing)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_preprocessing_is_saved_with_its_mode():
    layer = keras.layers.deserialize(keras.layers.serialize(Preprocess("torch")))
    assert layer.mode == "torch"
