"""MobileNetV3: sizes and what is frozen. ``weights/test_torchvision_state.py`` holds its numbers."""

import functools

import keras
import pytest

from frcnn.errors import ConfigError
from frcnn.models import freezing, mobilenet_v3
from frcnn.weights.initial import weighted_layers


@functools.cache
def network(**settings):
    pixels = keras.Input((None, None, 3))
    return keras.Model(pixels, mobilenet_v3.mobilenet_v3_large(pixels, **settings))


def test_both_outputs_have_stride_32():
    assert network().compute_output_shape((1, 65, 97, 3)) == [(1, 3, 4, 160), (1, 3, 4, 960)]


def test_its_layers_have_the_published_number_of_weights():
    model = network()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = sum(2 * norm.gamma.shape[0] for norm in norms)
    assert model.count_params() - statistics == 2_971_952  # torchvision's number, without its classifier


@pytest.mark.parametrize(
    ("channels", "rounded"), [(18, 24), (30, 32), (60, 64), (120, 120), (3, 8), (20, 24), (19, 24)]
)
def test_squeezed_channels_are_rounded_to_8(channels, rounded):
    assert mobilenet_v3._round_to_8(channels) == rounded


@pytest.mark.parametrize(
    ("stages", "first"), [(0, 17), (1, 16), (2, 13), (3, 7), (4, 4), (5, 2), (6, 0)]
)
def test_stages_are_frozen_from_the_stem_up(stages, first):
    model = network()
    freezing.freeze(
        model.input, model.outputs, mobilenet_v3.stage_of, mobilenet_v3.NUM_STAGES, stages, False
    )
    for layer in weighted_layers(model):
        assert layer.trainable == (int(layer.name.split("_")[1]) >= first), layer.name


def test_the_settings_reach_every_layer():
    model = network(trainable_stages=2, frozen_batch_norm=True, epsilon=1e-3)
    for layer in weighted_layers(model):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        in_trained_stage = int(layer.name.split("_")[1]) >= 13
        assert layer.trainable == (in_trained_stage and not is_norm), layer.name
        assert not is_norm or layer.epsilon == 1e-3


def test_a_number_of_stages_that_there_is_not():
    with pytest.raises(ConfigError, match="from 0 to 6 for this backbone, not 7"):
        network(trainable_stages=7)
