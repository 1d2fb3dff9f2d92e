"""The weights of more networks of ``keras.applications``: each array lands in its own layer."""

import h5py
import keras
import numpy as np
import pytest

from frcnn.config.schema import ModelConfig
from frcnn.errors import WeightsError
from frcnn.models.backbones import BACKBONES
from frcnn.models.keras_applications import APPLICATIONS
from frcnn.weights import imagenet, initial

NETWORKS = {
    "convnext_tiny_fpn": keras.applications.ConvNeXtTiny,
    "efficientnetv2_b0_fpn": keras.applications.EfficientNetV2B0,
    "resnet50v2_fpn": keras.applications.ResNet50V2,
}


def write(path, network):
    """Write a network as Keras 2 did: one group per layer of the graph, even if that has layers."""
    with h5py.File(path, "w") as file:
        names = [layer.name for layer in network.layers]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for layer in network.layers:
            group = file.create_group(layer.name)
            paths = [f"{number}_{weight.path}:0" for number, weight in enumerate(layer.weights)]
            group.attrs["weight_names"] = [path.encode() for path in paths]
            for weight_path, weight in zip(paths, layer.weights):
                group.create_dataset(weight_path, data=keras.ops.convert_to_numpy(weight))


@pytest.fixture(params=NETWORKS, scope="module")
def case(request, tmp_path_factory):
    """Return the backbone's name, Keras' network with random weights, and its file."""
    network = NETWORKS[request.param](include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if "moving_variance" not in weight.path and "seed" not in weight.path:
            weight.assign(rng.normal(0, 0.05, weight.shape).astype("float32"))
    path = tmp_path_factory.mktemp("weights") / "network.h5"
    write(path, network)
    return request.param, network, path


@pytest.mark.slow
def test_features_are_those_of_keras(case):
    """With Keras' own preprocessing before it, the last level is Keras' last one."""
    name, network, path = case
    assert initial.preprocessing_for(path, name) == BACKBONES[name].preprocessing
    pixels = keras.Input((64, 64, 3))
    own, levels = APPLICATIONS[name].network(pixels)
    report = initial.load_weights(own, path)
    assert not report.missing
    images = np.random.default_rng(1).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    ours = images / 127.5 - 1.0
    if BACKBONES[name].preprocessing == "torch":
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        ours = ((images / 255 - mean) / deviation).astype("float32")
    theirs = ours if name == "resnet50v2_fpn" else images  # the other two have it inside
    last = network.layers[-1]
    expected = keras.Model(network.input, last.input if name.startswith("convnext") else last.output)
    found, wanted = own.predict_on_batch(ours), expected.predict_on_batch(theirs)
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())
    assert [64 // level.shape[1] for level in levels] == [4, 8, 16, 32]


@pytest.mark.slow
def test_the_file_is_for_its_backbone_only(case):
    name, _, path = case
    initial.check_weights(ModelConfig(backbone=name, weights=str(path)))
    with pytest.raises(WeightsError, match="which has other layers: vgg16 takes VGG16 of keras"):
        initial.check_weights(ModelConfig(backbone="vgg16", weights=str(path)))


@pytest.mark.slow
def test_stages_are_frozen_from_the_first_on(case):
    name, *_ = case
    pixels = keras.Input((None, None, 3))
    for stages, frozen in ((5, False), (4, True)):
        config = ModelConfig(backbone=name, trainable_stages=stages)
        levels = BACKBONES[name].build(pixels, config).features
        layers = initial.weighted_layers(keras.Model(pixels, list(levels)))
        kinds = [one for one in layers if not isinstance(one, keras.layers.BatchNormalization)]
        assert kinds[0].trainable is not frozen and kinds[-1].trainable


def test_other_sizes_of_the_networks_are_refused():
    for names in (
        {"conv1_conv", "post_bn", "conv4_block6_1_conv", "conv4_block23_1_conv"},
        {"block4a_dwconv2", "block6h_project_conv", "block6i_project_conv"},
    ):
        assert imagenet.recognise(names).backbones == ()
