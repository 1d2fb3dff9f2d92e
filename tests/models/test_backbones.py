"""The backbones: what they hand on, what is frozen, and the preprocessing inside.

Their layers are made without weights, and images are small: only shapes and bookkeeping are tested.
"""

import functools

import keras
import numpy as np
import pytest

from frcnn.config import schema
from frcnn.config.schema import ModelConfig
from frcnn.errors import ConfigError
from frcnn.layers.preprocess import Preprocess
from frcnn.models.backbones import BACKBONES
from frcnn.weights.initial import weighted_layers

# strides, channels, levels that RoIs are pooled from, size multiple, pool size that the head wants,
# convolutions of the RPN
PYRAMID = ((4, 8, 16, 32, 64), 256, 4, 32, None, 1)
PROPERTIES = {
    "vgg16": ((16,), 512, 1, 16, None, 1),
    "resnet50": ((16,), 1024, 1, 16, 14, 1),
    "mobilenet_v2": ((16,), 576, 1, 16, 14, 1),
    "tiny": ((8,), 128, 1, 8, None, 1),
    "resnet50_fpn": PYRAMID,
    "resnet101_fpn": PYRAMID,
    "resnet50_fpn_v2": (*PYRAMID[:5], 2),
    "mobilenet_v2_fpn": PYRAMID,
    "convnext_tiny_fpn": PYRAMID,
    "efficientnetv2_b0_fpn": PYRAMID,
    "resnet50v2_fpn": PYRAMID,
    "mobilenet_v3_large_fpn": ((32, 32, 64), 256, 2, 32, None, 1),
}


@functools.cache
def built(name, **settings):
    """Return a backbone made for pretrained weights, and a model of its features."""
    pixels = keras.Input((None, None, 3))
    backbone = BACKBONES[name].build(pixels, ModelConfig(**settings))
    return backbone, keras.Model(pixels, list(backbone.features))


def trainable_layers(model):
    return [layer.name for layer in weighted_layers(model) if layer.trainable]


def norms(*models):
    found = [layer for model in models for layer in weighted_layers(model)]
    return [layer for layer in found if isinstance(layer, keras.layers.BatchNormalization)]


def head_of(backbone):
    """Return the head as a model of pooled RoIs."""
    size = backbone.pool_size or 7
    pooled = keras.Input((size, size, backbone.features[0].shape[-1]))
    return keras.Model(pooled, backbone.head(pooled))


@pytest.mark.parametrize("name", PROPERTIES)
def test_what_each_hands_on(name):
    backbone, network = built(name)
    channels = backbone.features[0].shape[-1]
    found = (backbone.strides, channels, backbone.roi_levels, backbone.size_multiple)
    assert (*found, backbone.pool_size, backbone.rpn_depth) == PROPERTIES[name]
    # A padded image is a multiple of each stride but the last of a pyramid, which is rounded up.
    shapes = network.compute_output_shape((2, 96, 160, 3))
    expected = [(2, -(-96 // s), -(-160 // s), channels) for s in backbone.strides]
    assert [tuple(shape) for shape in shapes] == expected


def test_every_backbone_of_the_config_is_tested():
    assert set(PROPERTIES) == set(BACKBONES)
    assert schema.BACKBONES == tuple(BACKBONES)  # the table of names that settings are checked by


def test_features_are_computed_at_those_strides():
    images = np.zeros((1, 32, 64, 3), "float32")
    assert built("mobilenet_v2")[1](images).shape == (1, 2, 4, 576)
    levels = built("mobilenet_v3_large_fpn")[1](images)
    assert [level.shape for level in levels] == [(1, 1, 2, 256), (1, 1, 2, 256), (1, 1, 1, 256)]


@pytest.mark.parametrize("name, width", [("resnet50", 2048), ("mobilenet_v2", 1280)])
def test_the_last_stage_is_the_head_of_a_single_level(name, width):
    head = head_of(built(name)[0])
    assert head.output_shape == (None, width)
    (tail,) = [layer for layer in head.layers if isinstance(layer, keras.Model)]
    assert tail.compute_output_shape((5, 14, 14, tail.input_shape[-1])) == (5, 7, 7, width)


def test_the_second_version_has_a_head_of_convolutions():
    backbone, network = built("resnet50_fpn_v2", head_width=12)
    head = head_of(backbone)
    assert head.output_shape == (None, 12)
    names = [layer.name for layer in weighted_layers(head)]
    convolutions = [f"head_conv{number}{suffix}" for number in (1, 2, 3, 4) for suffix in ("", "_bn")]
    assert names == [*convolutions, "head_dense1"]
    # That of its head and of its pyramid is new, and learns, though the backbone's is frozen.
    learning = {layer.name for layer in norms(network, head) if layer.trainable}
    pyramid = {f"fpn_{part}{level}_bn" for part in ("lateral", "output") for level in range(4)}
    assert learning == pyramid | {f"head_conv{number}_bn" for number in (1, 2, 3, 4)}


# --- what is frozen --------------------------------------------------------------------------


def test_vgg16_ends_before_its_last_pooling_and_freezes_two_blocks():
    backbone, network = built("vgg16")
    assert backbone.head is None and network.layers[-1].name == "block5_conv3"
    assert trainable_layers(network) == [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]


def test_resnet50_freezes_two_stages_and_every_batch_norm():
    backbone, network = built("resnet50")
    head = head_of(backbone)
    # Stages 3 and 4 learn here, stage 5 in the head; of none the batch norm.
    assert {name.split("_")[0] for name in trainable_layers(network)} == {"conv3", "conv4"}
    assert {name.split("_")[0] for name in trainable_layers(head)} == {"conv5"}
    assert len(norms(network, head)) == 53
    assert not any(layer.trainable for layer in norms(network, head))


def test_mobilenet_v2_freezes_its_start_and_every_batch_norm():
    backbone, network = built("mobilenet_v2")
    both = norms(network, head_of(backbone))
    assert len(both) == 52 and not any(layer.trainable for layer in both)
    assert not network.get_layer("Conv1").trainable and not network.get_layer("block_2_expand").trainable
    assert network.get_layer("block_3_expand").trainable


@pytest.mark.parametrize(
    "name, stages, frozen, learning",
    [
        ("resnet50_fpn", 3, ["conv1", "layer1_2_conv3"], ["layer2_0_conv1", "layer4_2_conv3"]),
        ("resnet50_fpn", 1, ["conv1", "layer3_5_conv3"], ["layer4_0_conv1"]),
        ("mobilenet_v2_fpn", 3, ["Conv1", "block_2_project"], ["block_3_expand", "Conv_1"]),
        (
            "mobilenet_v3_large_fpn",
            3,
            ["features_0_0", "features_6_block_0_0"],
            ["features_7_block_0_0", "features_16_0"],
        ),
    ],
)
def test_a_pyramid_s_backbone_freezes_its_first_stages(name, stages, frozen, learning):
    _, network = built(name, trainable_stages=stages)
    assert not any(network.get_layer(layer).trainable for layer in frozen)
    assert all(network.get_layer(layer).trainable for layer in learning)
    assert not any(layer.trainable for layer in norms(network))
    pyramid = [layer for layer in weighted_layers(network) if layer.name.startswith("fpn_")]
    assert len(pyramid) == (4 if "v3" in name else 8) and all(layer.trainable for layer in pyramid)


@pytest.mark.parametrize("name", ["resnet50_fpn", "mobilenet_v2"])
def test_batch_norm_learns_when_a_setting_says_so(name):
    _, network = built(name, frozen_batch_norm=False)
    learning = {layer.name for layer in norms(network) if layer.trainable}
    assert learning and learning < {layer.name for layer in norms(network)}  # not in frozen stages


def test_the_epsilon_of_a_pyramid_s_batch_norm_is_the_setting_s():
    _, network = built("resnet50_fpn_v2", batch_norm_epsilon=0.25)
    assert {layer.epsilon for layer in norms(network)} == {0.25}


@pytest.mark.parametrize("name", ["mobilenet_v2_fpn", "resnet50_fpn_v2"])
def test_each_level_of_a_pyramid_has_the_channels_of_the_setting(name):
    backbone, _ = built(name, pyramid_channels=24)
    assert [level.shape[-1] for level in backbone.features] == [24] * 5


def test_frozen_batch_norm_keeps_its_statistics():
    """Even when called in training: they are those of the weights, not of one or two images."""
    _, network = built("mobilenet_v2")
    before = network.get_weights()
    network(np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32"), training=True)
    for one, other in zip(before, network.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["vgg16", "mobilenet_v2", "mobilenet_v3_large_fpn"])
def test_without_pretrained_weights_everything_learns(name):
    _, network = built(name, weights="none")
    assert all(layer.trainable for layer in network.layers)


@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_tiny_learns_throughout_and_is_small(weights):
    _, network = built("tiny", weights=weights)
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


@pytest.mark.parametrize("mode", ["auto", "cafe", None])
def test_a_preprocessing_that_there_is_not_is_refused(mode):
    with pytest.raises(ConfigError, match="preprocessing is .*, not one of caffe, caffe_rgb, torch, tf"):
        Preprocess(mode)


def test_preprocessing_is_saved_with_its_mode():
    layer = keras.layers.deserialize(keras.layers.serialize(Preprocess("torch")))
    assert layer.mode == "torch"
