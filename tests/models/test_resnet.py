"""ResNet: sizes, names, and what is frozen. ``weights/test_torchvision_state.py`` holds its numbers."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

from frcnn.errors import ConfigError
from frcnn.models import freezing, resnet
from frcnn.weights.initial import weighted_layers


@functools.cache
def network(**settings):
    pixels = keras.Input((None, None, 3))
    return keras.Model(pixels, resnet.resnet(pixels, **settings))


def trainable(model):
    return {layer.name for layer in weighted_layers(model) if layer.trainable}


def test_sizes_are_rounded_up():
    shapes = network().compute_output_shape((2, 65, 97, 3))
    assert shapes == [(2, 17, 25, 256), (2, 9, 13, 512), (2, 5, 7, 1024), (2, 3, 4, 2048)]


def test_the_paper_s_layers():
    convolutions = [layer for layer in weighted_layers(network()) if isinstance(layer, layers.Conv2D)]
    # 50 counts a dense layer, but not the four convolutions on shortcuts.
    assert len(convolutions) == 50 - 1 + 4
    statistics = sum(2 * layer.filters for layer in convolutions)
    # torchvision's number, without its classifier.
    assert network().count_params() - statistics == 23_508_032


def test_a_stage_s_stride_is_in_its_first_3x3():
    strided = {
        layer.name
        for layer in weighted_layers(network())
        if isinstance(layer, layers.Conv2D) and layer.strides == (2, 2)
    }
    later = {f"layer{stage}_0_{part}" for stage in (2, 3, 4) for part in ("conv2", "downsample_0")}
    assert strided == {"conv1"} | later


def test_the_stem_s_padding_is_symmetric():
    stem = keras.Model(network().input, network().get_layer("conv1").output)
    image = np.zeros((1, 32, 32, 3), "float32")
    image[0, 0, 0, 0] = 1.0
    # The first window is centred on the first pixel.
    kernel = np.asarray(network().get_layer("conv1").kernel)
    np.testing.assert_allclose(np.asarray(stem(image))[0, 0, 0], kernel[3, 3, 0], atol=1e-5)


@pytest.mark.parametrize("stages", [0, 1, 4, 5])
def test_stages_are_frozen_from_the_stem_up(stages):
    model = network()
    freezing.freeze(model.input, model.outputs, resnet.stage_of, resnet.NUM_STAGES, stages, False)
    kept = ("layer4", "layer3", "layer2", "layer1", "conv1", "bn1")[: 6 if stages == 5 else stages]
    names = {layer.name for layer in weighted_layers(model)}
    assert trainable(model) == {name for name in names if name.startswith(kept)}


def test_the_settings_reach_every_layer():
    model = network(trainable_stages=2, frozen_batch_norm=True, epsilon=0.0)
    assert trainable(model) == {
        layer.name
        for layer in weighted_layers(model)
        if isinstance(layer, layers.Conv2D) and layer.name.startswith(("layer3", "layer4"))
    }
    norms = [layer for layer in weighted_layers(model) if isinstance(layer, layers.BatchNormalization)]
    assert [norm.epsilon for norm in norms] == [0.0] * 53


@pytest.mark.parametrize("stages", [-1, 6])
def test_a_number_of_stages_that_there_is_not(stages):
    model = network()
    with pytest.raises(ConfigError, match=f"from 0 to 5 for this backbone, not {stages}"):
        freezing.freeze(model.input, model.outputs, resnet.stage_of, resnet.NUM_STAGES, stages, False)
