"""Build and load in one: what came from the file is counted by part, and nothing is frozen at random."""

import numpy as np
import pytest
from test_initial import keras2_file

import frcnn
from frcnn.config import presets
from frcnn.config.schema import Config
from frcnn.errors import ConfigError, WeightsError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import detector_files

CONVOLUTIONS = {
    f"block{block}_conv{number}": (before if number == 1 else filters, filters)
    for block, before, filters, count in (
        (1, 3, 64, 2),
        (2, 64, 128, 2),
        (3, 128, 256, 3),
        (4, 256, 512, 3),
        (5, 512, 512, 3),
    )
    for number in range(1, count + 1)
}


@pytest.fixture
def vgg16_file(tmp_path):
    """Return a function that writes keras.applications' VGG16 with narrow dense layers."""

    def write(width, without=()):
        layers = {
            name: {"kernel": np.full((3, 3, *shape), 0.01, "float16"), "bias": np.zeros(shape[1])}
            for name, shape in CONVOLUTIONS.items()
        }
        layers["fc1"] = {"kernel": np.ones((49 * 512, width), "float16"), "bias": np.zeros(width)}
        layers["fc2"] = {"kernel": np.ones((width, width), "float16"), "bias": np.zeros(width)}
        layers["predictions"] = {"kernel": np.ones((width, 10)), "bias": np.zeros(10)}
        path = tmp_path / "vgg16.h5"
        keras2_file(path, {name: values for name, values in layers.items() if name not in without})
        return path

    return write


def voc(path, **model):
    """Return the config of VOC with two classes, narrow, and with weights."""
    values = {"model.weights": str(path), "model.rpn_channels": 8, "data.classes": "cat,dog"}
    values |= {f"model.{name}": value for name, value in model.items()}
    return presets.preset("voc").replace(values)


def test_the_head_of_voc_is_pretrained_and_it_says_how_much(vgg16_file):
    path = vgg16_file(6)
    built, account = frcnn.build_pretrained(voc(path, head_width=6))
    assert built.rpn.get_layer("preprocess").mode == "caffe"  # as Keras' VGG16 wants it
    for name in ("head_dense1", "head_dense2"):
        assert (np.asarray(built.classifier.get_layer(name).kernel) == 1).all()
    first, backbone, rpn, head, kind = account.splitlines()
    assert first.startswith(f"{path}: loaded 15 layers") and "1 layers of the file not used" in first
    assert backbone == ("  backbone: 13 of 13 layers pretrained, 14,714,688 of 14,714,688 weights")
    assert rpn.startswith("  RPN: 0 of 3 layers pretrained, 0 of ")
    own, new = 49 * 512 * 6 + 6 + 6 * 6 + 6, (6 + 1) * 3 + (6 + 1) * 8
    assert head == (
        f"  head: 2 of 4 layers pretrained, {own:,} of {own + new:,} weights; "
        "class_logits, box_deltas: random weights"
    )
    assert kind == "  the file holds VGG16 of keras.applications"


def test_a_narrower_head_starts_anew_and_it_says_so(vgg16_file):
    _, account = frcnn.build_pretrained(voc(vgg16_file(6), head_width=4))
    assert "head: 0 of 4 layers pretrained, 0 of " in account
    assert (
        "head_dense1 not loaded: the model has [(25088, 4), (4,)], the file [(25088, 6), (6,)]"
        in account
    )


def test_a_file_that_leaves_frozen_layers_out_is_refused(vgg16_file):
    path = vgg16_file(6, without=("block1_conv2", "block4_conv1"))
    with pytest.raises(
        WeightsError, match=r"has 11 of 13 .*vgg16: block1_conv2 would be frozen with ran"
    ):
        frcnn.build_pretrained(voc(path, head_width=6))
    # Nothing is frozen here, and what the file lacks is said.
    _, account = frcnn.build_pretrained(voc(path, head_width=6, trainable_stages=5))
    assert (
        "backbone: 11 of 13 layers" in account
        and "block1_conv2, block4_conv1: random weights" in account
    )


def test_a_detector_of_another_network_is_refused(small_config, tmp_path):
    """Its head and RPN may fit, but nothing of the backbone does."""
    config = small_config.replace({"data.classes": "cat,dog"})
    detector_files.save(FasterRCNN.from_config(config, 3), config, tmp_path / "tiny.h5")
    other = config.replace({"model.backbone": "vgg16", "model.weights": str(tmp_path / "tiny.h5")})
    with pytest.raises(WeightsError, match="tiny.h5 has 0 of 13 layers of the backbone vgg16"):
        frcnn.build_pretrained(other)


def test_without_weights_nothing_is_said_and_without_classes_nothing_is_built(small_config):
    built, account = frcnn.build_pretrained(
        small_config.replace({"data.classes": "cat,dog", "model.preprocessing": "auto"})
    )
    assert account == "" and built.num_classes == 3
    with pytest.raises(ConfigError, match="data.classes names no class"):
        frcnn.build_pretrained(Config())
