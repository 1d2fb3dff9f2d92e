"""Every layer class of frcnn can be made again from its config; so can a whole model from a file."""

import importlib
import inspect
import json
import pkgutil

import keras
import numpy as np
import pytest

import frcnn
from frcnn.config import presets
from frcnn.config.schema import Config
from frcnn.layers.rotated_roi_align import RotatedRoIAlign
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import flatten_layers
from frcnn.training.step_models import joint_step_model

SMALL = {"model.weights": "none", "model.preprocessing": "tf", "train.conv_tiles": "64:33"}


def layer_classes():
    """Return all layer classes that the packages of frcnn define; the models are none of them."""
    found = set()
    for module in pkgutil.walk_packages(frcnn.__path__, "frcnn."):
        if module.name.rpartition(".")[2] == "__main__":
            continue
        for value in vars(importlib.import_module(module.name)).values():
            own = inspect.isclass(value) and value.__module__ == module.name
            if own and issubclass(value, keras.Layer) and not issubclass(value, keras.Model):
                found.add(value)
    return found


def network(backbone, **settings):
    config = Config().replace(presets.backbone_preset(backbone) | SMALL | settings)
    return FasterRCNN(backbone, 3, config=config)


@pytest.fixture(scope="module")
def examples():
    """Return {class: a layer of it}, out of networks that have them all."""
    pyramid = network("mobilenet_v3_large_fpn", **{"model.head_width": 8, "model.pooling": "roi_pool"})
    one_level = network("tiny", **{"model.head_width": 8, "model.cascade_stages": 2})
    models = [pyramid.detector, one_level.detector, one_level.proposal_targets]
    layers = [*map(flatten_layers, models), joint_step_model(one_level).layers, [RotatedRoIAlign((16,))]]
    return {type(layer): layer for group in layers for layer in group}


def test_every_layer_class_can_be_made_again(examples):
    classes = layer_classes()
    assert len(classes) >= 13
    for kind in sorted(classes, key=lambda kind: kind.__name__):
        assert kind in examples, f"no network of this test has a {kind.__name__}: add one"
        layer = examples[kind]
        config = layer.get_config()
        parameters = inspect.signature(kind.__init__).parameters.values()
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        names = {one.name for one in parameters if one.kind not in variadic} - {"self"}
        assert names <= config.keys(), f"{kind.__name__} leaves out {names - config.keys()}"

        text = json.dumps(keras.saving.serialize_keras_object(layer))
        again = keras.saving.deserialize_keras_object(json.loads(text))
        assert type(again) is kind
        assert json.dumps(keras.saving.serialize_keras_object(again)) == text


@pytest.mark.slow
def test_a_saved_keras_model_gives_the_same_numbers(tmp_path):
    """A normalization must not be lost where its convolution includes it no longer."""
    model = network("mobilenet_v3_large_fpn", **{"model.head_width": 8}).rpn
    for weight in model.weights:
        weight.assign(weight * 1.1)
    model.save(tmp_path / "rpn.keras")
    again = keras.saving.load_model(tmp_path / "rpn.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    for one, other in zip(model.predict_on_batch(images), again.predict_on_batch(images)):
        np.testing.assert_allclose(one, other, atol=1e-4)
