"""``train.precision``: 16 bits inside the layers, float32 where it matters."""

import keras
import numpy as np
import pytest
from benchmark.worker import random_batch

from frcnn.config.presets import preset
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.alternating import Alternating
from frcnn.training.four_step import FourStep
from frcnn.training.joint import Joint

SETTINGS = {"model.preprocessing": "tf", "model.head_width": 16, "rpn.post_nms_test": 8}


def build(precision):
    config = preset("shapes").replace(SETTINGS | {"train.precision": precision})
    return FasterRCNN.from_config(config, 4)


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


LOSSES = ("rpn/loss_cls", "rpn/loss_regr", "classifier/loss_cls", "classifier/loss_regr")
# Weights that move by the gradient alone, from the first step on.
PLAIN_SGD = {
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.01,
    "optimizer.warmup_steps": 0,
    "optimizer.momentum": 0.0,
    "optimizer.weight_decay": 0.0,
}


@pytest.mark.parametrize("schedule", [Alternating, Joint, FourStep])
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_sixteen_bits_train_nearly_as_float32(precision, schedule):
    """Three steps from the same weights: the four losses, and where the weights of all layers go."""
    spec = {"batch": 1, "height": 96, "width": 128, "boxes": 3, "classes": 3}
    losses, moves = {}, {}
    for kind in ("float32", precision):
        config = preset("shapes").replace(SETTINGS | PLAIN_SGD | {"train.precision": kind})
        keras.utils.set_random_seed(0)
        built = FasterRCNN.from_config(config, 4)
        steps = schedule(built, config, 100)
        batch = random_batch(built, config, spec)
        start = built.detector.get_weights()
        losses[kind] = [
            [scalars[tag] for tag in LOSSES] for scalars in map(steps.train_step, [batch] * 3)
        ]
        moves[kind] = [after - before for before, after in zip(start, built.detector.get_weights())]
    np.testing.assert_allclose(losses[precision], losses["float32"], rtol=0.03)
    paths = [weight.path for weight in built.detector.weights]
    for path, rounded, exact in zip(paths, moves[precision], moves["float32"]):
        length = np.linalg.norm(exact)
        assert np.linalg.norm(rounded - exact) <= 0.25 * length, path
        # All learn, but in the first phase of the paper's four only what the RPN trains.
        assert (length > 0) == (schedule is not FourStep or path.startswith(("tiny", "rpn"))), path
    optimizers = steps.optimizers.values()
    scaled = all(isinstance(one, keras.optimizers.LossScaleOptimizer) for one in optimizers)
    assert optimizers and scaled == (precision == "mixed_float16")
