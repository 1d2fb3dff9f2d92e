"""A training step changes what it should, a validation step nothing, and both say what they did."""

import dataclasses

import keras
import numpy as np
import pytest

from frcnn import backend, models
from frcnn.anchors import Pyramid
from frcnn.data import datasets
from frcnn.data.dataset import Dataset
from frcnn.data.pipeline import Pipeline
from frcnn.schedules import Alternating
from frcnn.targets import RpnTargeter

LOSSES = ("rpn/loss_cls", "rpn/loss_regr", "classifier/loss_cls", "classifier/loss_regr")
RPN = ("rpn_conv", "rpn_class_logits", "rpn_deltas")
HEAD = ("head_dense1", "head_dense2", "class_logits", "box_deltas")
SHARED = ("tiny_conv3", "tiny_conv4", "tiny_conv5")  # the first two are frozen


numpy = keras.ops.convert_to_numpy


def set_up(config, freeze=(), steps=10):
    """Return ``Models`` and a schedule for them, the same every time."""
    backend.prepare_device()  # so that the same is the same to the last bit
    keras.utils.set_random_seed(5)
    built = models.build(config, 3)
    for name in freeze:
        built.rpn.get_layer(name).trainable = False
    return built, Alternating(built, config, steps, np.random.default_rng(6))


def first_batch(dataset, config):
    targeter = RpnTargeter(Pyramid(config.anchors, (8,)), config.rpn)
    return next(Pipeline(dataset, config.data, 8, 0, True, targeter).epoch())


@pytest.fixture(scope="module")
def batch(small_config):
    """Return a batch of two images."""
    return first_batch(datasets.load(small_config.data)[0], small_config)


@pytest.fixture(scope="module")
def validate(small_config, batch):
    """Return a function from weights of images to the scalars of one validation step."""
    _, schedule = set_up(small_config)

    def scalars(*image_weights):
        weighted = dataclasses.replace(batch, weights=np.array(image_weights, "float32"))
        return schedule.validation_step(weighted, np.random.default_rng(0))

    return scalars


@pytest.fixture(scope="module")
def frozen(small_config):
    """Return ``Models`` whose first two layers are frozen, and their schedule."""
    return set_up(small_config, freeze=("tiny_conv1", "tiny_conv2"))


def weights(built):
    """Return {layer: its weights, copied}."""
    layers = {layer.name: layer for model in (built.rpn, built.classifier) for layer in model.layers}
    return {name: layer.get_weights() for name, layer in layers.items() if layer.weights}


def changed(before, after):
    """Return the layers all of whose weights differ, having seen that the others' are all the same."""
    differ = {name: [(a != b).any() for a, b in zip(before[name], after[name])] for name in before}
    assert all(all(flags) or not any(flags) for flags in differ.values()), differ
    return {name for name, flags in differ.items() if all(flags)}


def optimizer_state(built):
    return [numpy(v).copy() for m in (built.rpn, built.classifier) for v in m.optimizer.variables]


def without_seconds(scalars):
    return {tag: value for tag, value in scalars.items() if not tag.startswith("time/")}


# What a step changes.


def test_each_sub_model_trains_its_own_layers_and_the_shared_ones(frozen, batch):
    built, schedule = frozen
    start = weights(built)
    built.rpn.train_on_batch(batch.images, list(batch.targets), sample_weight=batch.weights)
    middle = weights(built)
    assert changed(start, middle) == {*SHARED, *RPN}
    sampled = schedule.sample(batch, np.random.default_rng(0))
    targets = [sampled["y_class"], sampled["y_regress"]]
    assert changed(middle, weights(built)) == set()  # sampling is no training
    built.classifier.train_on_batch([batch.images, sampled["rois"]], targets)
    assert changed(middle, weights(built)) == {*SHARED, *HEAD}


def test_a_train_step_trains_everything_but_what_is_frozen(frozen, batch):
    built, schedule = frozen
    before = weights(built)
    steps = [int(model.optimizer.iterations) for model in (built.rpn, built.classifier)]
    schedule.train_step(batch)
    assert changed(before, weights(built)) == {*SHARED, *RPN, *HEAD}
    after = [int(model.optimizer.iterations) for model in (built.rpn, built.classifier)]
    assert after == [steps[0] + 1, steps[1] + 1]


def test_a_validation_step_changes_nothing(small_config, batch):
    config = small_config.replace({"model.head_dropout": 0.5})
    built, schedule = set_up(config)
    schedule.train_step(batch)
    before, state = weights(built), optimizer_state(built)
    chance = schedule.generator.bit_generator.state
    scalars = schedule.validation_step(batch, np.random.default_rng(0))
    assert changed(before, weights(built)) == set()
    for old, new in zip(state, optimizer_state(built)):
        np.testing.assert_array_equal(new, old)
    assert schedule.generator.bit_generator.state == chance
    again = schedule.validation_step(batch, np.random.default_rng(0))
    assert without_seconds(again) == without_seconds(scalars)  # no dropout either
    # And the training goes on as if nothing had been.
    after = without_seconds(schedule.train_step(batch))
    _, undisturbed = set_up(config)
    undisturbed.train_step(batch)
    assert without_seconds(undisturbed.train_step(batch)) == after


# What a step returns.


def test_the_scalars_are_the_designs(frozen, batch, validate):
    _, schedule = frozen
    both = {"total_loss", "rpn/loss", "classifier/loss", "classifier/accuracy", *LOSSES} | {
        "rpn/recall",
        "rpn/mean_overlapping_boxes",
        "classifier/positive_rois",
        "time/rpn",
        "time/sampling",
        "time/classifier",
    }
    trained = schedule.train_step(batch)
    assert set(trained) == both | {"learning_rate/rpn", "learning_rate/classifier"}
    assert set(validate(1, 1)) == both
    assert all(type(value) is float and np.isfinite(value) for value in trained.values())


def test_loss_weights_are_handed_to_compile(small_config, batch):
    config = small_config.replace({"loss.rpn": "2,0.5", "loss.classifier": "0.25,3"})
    scalars = set_up(config)[1].validation_step(batch, np.random.default_rng(0))
    cls, regr, class_cls, class_regr = (scalars[tag] for tag in LOSSES)
    assert scalars["rpn/loss"] == pytest.approx(2 * cls + 0.5 * regr, rel=1e-5)
    assert scalars["classifier/loss"] == pytest.approx(0.25 * class_cls + 3 * class_regr, rel=1e-5)
    total = scalars["rpn/loss"] + scalars["classifier/loss"]
    assert scalars["total_loss"] == pytest.approx(total, rel=1e-6)


def test_an_images_weight_counts_in_all_four_losses(validate):
    def losses(*image_weights):
        scalars = validate(*image_weights)
        return np.array([scalars[tag] for tag in LOSSES])

    both, first, second = losses(1, 1), losses(1, 0), losses(0, 1)
    assert (first > 0).all() and (second > 0).all()
    np.testing.assert_allclose(first + second, both, rtol=1e-5)
    np.testing.assert_allclose(losses(3, 0.5), 3 * first + 0.5 * second, rtol=1e-5)


def test_the_logged_rate_is_the_one_of_the_step(small_config, batch):
    values = {
        "optimizer.learning_rate": 0.02,
        "optimizer.warmup_steps": 3,
        "optimizer.decay_at": "0.5,0.75",
        "optimizer.decay_factor": 0.1,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.0,
        "optimizer.weight_decay": 0.0,
        "optimizer.clip_norm": 0.0,
        "loss.classifier": "0,0",
    }
    built, schedule = set_up(small_config.replace(values), steps=8)
    # Up over three steps; after four and six of eight steps a tenth.
    rates = [0.02 / 3, 0.04 / 3, 0.02, 0.02, 0.002, 0.002, 0.0002, 0.0002]
    bias = built.rpn.get_layer("rpn_class_logits").bias
    for step, rate in enumerate(rates):
        # Plain SGD moves a weight by rate times gradient: the gradient comes from a second difference.
        before = numpy(bias).copy()
        gradient = slope(built.rpn, batch, bias)
        scalars = schedule.train_step(batch)
        assert scalars["learning_rate/rpn"] == pytest.approx(rate, rel=1e-5), step
        assert scalars["learning_rate/classifier"] == pytest.approx(rate, rel=1e-5), step
        moved = before[0] - numpy(bias)[0]
        assert moved == pytest.approx(rate * gradient, rel=0.05, abs=1e-7), step


def slope(model, batch, bias, width=1e-2):
    """Return the derivative of the RPN's loss by its first bias, by central difference."""
    start, losses = numpy(bias).copy(), []
    for sign in (1, -1):
        shifted = start.copy()
        shifted[0] += sign * width
        bias.assign(shifted)
        losses.append(model.test_on_batch(batch.images, list(batch.targets), return_dict=True)["loss"])
    bias.assign(start)
    return (float(losses[0]) - float(losses[1])) / (2 * width)


# Images without objects.


def test_images_without_any_object_train_as_background(small_config):
    train, _ = datasets.load(small_config.data)
    samples = tuple(
        dataclasses.replace(
            sample, boxes=sample.boxes[:0], labels=sample.labels[:0], difficult=sample.difficult[:0]
        )
        for sample in train.samples[:2]
    )
    dataset = Dataset("nothing", train.classes, samples)
    built, schedule = set_up(small_config)
    before = weights(built)
    scalars = schedule.train_step(first_batch(dataset, small_config))
    assert scalars["rpn/loss_regr"] == 0.0 and scalars["classifier/loss_regr"] == 0.0
    assert 0 < scalars["rpn/loss_cls"] < 10 and 0 < scalars["classifier/loss_cls"] < 10
    assert scalars["classifier/positive_rois"] == 0.0 and scalars["rpn/mean_overlapping_boxes"] == 0.0
    assert "rpn/recall" not in scalars  # of nothing
    after = weights(built)
    assert all(np.isfinite(w).all() for values in after.values() for w in values)
    assert (before["class_logits"][1] != after["class_logits"][1]).any()
