"""``train.precision``: 16 bits inside the layers, float32 where it matters."""

import keras
import numpy as np
import pytest

from frcnn import models
from frcnn.benchmark.worker import random_batch
from frcnn.four_step import FourStep
from frcnn.presets import preset
from frcnn.schedules import Alternating, Joint

SETTINGS = {"model.preprocessing": "tf", "model.head_width": 16, "rpn.post_nms_test": 8}


def build(precision):
    config = preset("shapes").replace(SETTINGS | {"train.precision": precision})
    return models.build(config, 3)


def test_mixed_bfloat16_computes_in_bfloat16_and_hands_out_float32():
    built = build("mixed_bfloat16")
    convolution = built.rpn.get_layer("tiny_conv1")
    assert convolution.compute_dtype == "bfloat16"
    assert convolution.kernel.dtype == "float32"
    assert built.rpn.get_layer("preprocess").compute_dtype == "float32"
    # What proposals are ranked by and boxes placed by is not rounded to 8 bits on its way out.
    for model, names in (
        (built.rpn, ("rpn_class_logits", "rpn_deltas", "rpn_class_cells", "rpn_out_regress")),
        (built.classifier, ("class_logits", "box_deltas", "class_rois")),
    ):
        assert {model.get_layer(name).compute_dtype for name in names} == {"float32"}
    images = np.zeros((1, 64, 64, 3), "uint8")
    rois = np.array([[[4.3, 4.7, 50.1, 60.9]]], "float32")
    outputs = [*built.rpn.predict_on_batch(images), *built.classifier.predict_on_batch([images, rois])]
    assert {output.dtype for output in outputs} == {np.dtype("float32")}


def test_mixed_bfloat16_gives_nearly_the_scores_of_float32():
    exact, rounded = build("float32"), build("mixed_bfloat16")
    rounded.detector.set_weights(exact.detector.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), "uint8")
    rois = np.array([[[10.0, 10.0, 60.0, 70.0], [300.3, 0.0, 400.7, 90.2]]], "float32")
    for name, inputs in (("rpn", images), ("classifier", [images, rois])):
        ours, theirs = (getattr(m, name).predict_on_batch(inputs) for m in (rounded, exact))
        for got, wanted in zip(ours, theirs):
            # bfloat16 has 8 bits: a hundredth of what the scores and deltas span, and not nothing.
            assert 0 < np.abs(got - wanted).max() < 0.02


def test_the_policy_outside_is_left_alone():
    before = keras.config.dtype_policy().name
    build("mixed_bfloat16")
    assert keras.config.dtype_policy().name == before


@pytest.mark.parametrize("schedule", [Alternating, Joint, FourStep])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_sixteen_bits_train_nearly_as_float32(precision, schedule):
    """Three steps from the same weights: the losses are those of float32 to a hundredth or so."""
    spec = {"batch": 1, "height": 96, "width": 128, "boxes": 3, "classes": 3}
    losses = {}
    for kind in ("float32", precision):
        config = preset("shapes").replace(SETTINGS | {"train.precision": kind})
        keras.utils.set_random_seed(0)
        built = models.build(config, 3)
        steps = schedule(built, config, 100)
        batch = random_batch(built, config, spec)
        losses[kind] = [steps.train_step(batch)["rpn/loss"] for _ in range(3)]
    np.testing.assert_allclose(losses[precision], losses["float32"], rtol=0.03)
    assert len(set(losses[precision])) == 3
    optimizers = steps.optimizers.values()
    scaled = all(isinstance(one, keras.optimizers.LossScaleOptimizer) for one in optimizers)
    assert optimizers and scaled == (precision == "mixed_float16")
