"""A training step changes what it should, a validation step nothing, and both say what they did."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from frcnn import backend
from frcnn import rng as rng_module
from frcnn.config.schema import Config
from frcnn.data import build
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError
from frcnn.models import backbones
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.box_kinds import AXIS_ALIGNED
from frcnn.training.alternating import Alternating
from frcnn.training.compile import RoiAccuracy, compile_sub_models
from frcnn.training.joint import Joint
from frcnn.training.loss_terms import classifier_terms

SCHEDULES = {"alternating": Alternating, "joint": Joint}
LOSSES = ("rpn/loss_cls", "rpn/loss_regr", "classifier/loss_cls", "classifier/loss_regr")
RPN = ("rpn_conv", "rpn_class_logits", "rpn_deltas")
HEAD = ("head_dense1", "head_dense2", "class_logits", "box_deltas")
SHARED = ("tiny_conv3", "tiny_conv4", "tiny_conv5")  # the first two are frozen


numpy = keras.ops.convert_to_numpy


def set_up(config, kind="alternating", freeze=(), steps=10):
    """Return ``FasterRCNN`` and a schedule for them, the same every time."""
    backend.prepare_device()  # so that the same is the same to the last bit
    keras.utils.set_random_seed(5)
    built = FasterRCNN.from_config(config, 4)
    for name in freeze:
        built.rpn.get_layer(name).trainable = False
    return built, SCHEDULES[kind](built, config, steps)


def first_batch(dataset, config):
    targeter = AnchorTargetCreator(AnchorGenerator(strides=(8,), **vars(config.anchors)), config.rpn)
    return next(DataLoader(dataset, config.data, 8, 0, True, targeter).epoch())


@pytest.fixture(scope="module")
def batch(small_config):
    """Return a batch of two images."""
    return first_batch(build.load(small_config.data)[0], small_config)


@pytest.fixture(scope="module")
def validate(small_config, batch):
    """Return a function from weights of images to the scalars of one validation step."""
    _, schedule = set_up(small_config)

    def scalars(*image_weights):
        weighted = dataclasses.replace(batch, weights=np.array(image_weights, "float32"))
        return schedule.validation_step(weighted, np.random.default_rng(0))[0]

    return scalars


@pytest.fixture(scope="module")
def frozen(small_config):
    """Return ``FasterRCNN`` whose first two layers are frozen, and their schedule."""
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


def optimizer_state(schedule):
    return [numpy(v).copy() for step in schedule.step_models for v in step.optimizer.variables]


def without_seconds(scalars):
    return {tag: value for tag, value in scalars.items() if not tag.startswith("time/")}


# What a step changes.


def test_each_sub_model_trains_its_own_layers_and_the_shared_ones(frozen, batch):
    built, schedule = frozen
    start = weights(built)
    inputs, targets, _ = schedule._rpn_data(batch, np.random.default_rng(0))
    _, sampled = schedule.rpn_step.run(inputs, targets, batch.weights, learn=True)
    middle = weights(built)
    assert changed(start, middle) == {*SHARED, *RPN}
    targets = dict(zip(built.classifier.output_names, (sampled["y_class"], sampled["y_regress"])))
    inputs = {"images": batch.images, "rois": sampled["rois"]}
    schedule.classifier_step.run(inputs, targets, batch.weights, learn=True)
    assert changed(middle, weights(built)) == {*SHARED, *HEAD}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_train_step_trains_everything_but_what_is_frozen(small_config, batch, kind):
    built, schedule = set_up(small_config, kind, freeze=("tiny_conv1", "tiny_conv2"))
    before = weights(built)
    schedule.train_step(batch)
    assert changed(before, weights(built)) == {*SHARED, *RPN, *HEAD}
    assert all(int(step.optimizer.iterations) == 1 for step in schedule.step_models)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_validation_step_changes_nothing(small_config, batch, kind):
    config = small_config.replace({"model.head_dropout": 0.5})
    built, schedule = set_up(config, kind)
    schedule.train_step(batch)
    before, state = weights(built), optimizer_state(schedule)
    scalars, _ = schedule.validation_step(batch, np.random.default_rng(0))
    assert changed(before, weights(built)) == set()
    for old, new in zip(state, optimizer_state(schedule)):
        np.testing.assert_array_equal(new, old)
    assert schedule.steps_done == 1
    again, _ = schedule.validation_step(batch, np.random.default_rng(0))
    assert again == scalars  # no dropout either
    # And the training goes on as if nothing had been.
    after = without_seconds(schedule.train_step(batch))
    _, undisturbed = set_up(config, kind)
    undisturbed.train_step(batch)
    undisturbed = without_seconds(undisturbed.train_step(batch))
    assert undisturbed == after


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("spoilt", ["weights", "gt_boxes"])
def test_a_step_whose_loss_is_not_finite_is_skipped(small_config, batch, kind, spoilt):
    built, schedule = set_up(small_config, kind, freeze=("tiny_conv1", "tiny_conv2"))
    assert schedule.train_step(batch).applied
    before, state = weights(built), optimizer_state(schedule)
    bad = np.full_like(getattr(batch, spoilt), np.inf)
    spoilt = dataclasses.replace(batch, **{spoilt: bad})
    scalars = schedule.train_step(spoilt)
    assert not scalars.applied
    assert not np.isfinite(scalars["total_loss"])
    # The boxes spoil the classifier's targets alone: the RPN's own step is sound, and is undone.
    assert np.isfinite(scalars["rpn/loss"]) == (spoilt.gt_boxes is bad)
    assert changed(before, weights(built)) == set()
    for old, new in zip(state, optimizer_state(schedule)):
        np.testing.assert_array_equal(new, old)
    assert schedule.not_finite() == []
    assert schedule.train_step(batch).applied
    # What was undone is not undone once more, nor does what it was undone to change later.
    after = weights(built)
    assert changed(before, after) == {*SHARED, *RPN, *HEAD}
    schedule.train_step(spoilt)
    assert changed(after, weights(built)) == set()


def with_batch_norm(pixels, config):
    """The backbone ``tiny`` with batch normalization behind it."""
    backbone = backbones.tiny(pixels, config)
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm")
    return dataclasses.replace(backbone, features=(norm(backbone.features[0]),))


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_skipped_step_leaves_no_trace_in_batch_normalization(small_config, batch, kind, monkeypatch):
    tiny = dataclasses.replace(backbones.BACKBONES["tiny"], build=with_batch_norm)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny)
    built, schedule = set_up(small_config, kind)
    norm = built.rpn.get_layer("norm")
    start = [numpy(own) for own in (norm.moving_mean, norm.moving_variance)]
    schedule.train_step(batch)
    before = weights(built)
    assert all((old != new).any() for old, new in zip(start, before["norm"][2:]))
    # A kernel that overflows spoils the forward pass, and with it what normalization sees.
    kernel = built.rpn.get_layer("tiny_conv5").kernel
    sound = numpy(kernel).copy()
    kernel.assign(np.full_like(sound, 1e38))
    assert not schedule.train_step(
        batch
    ).applied  # the loss may be finite: with oneDNN, ReLU makes 0 of NaN
    kernel.assign(sound)
    assert schedule.not_finite() == []
    assert changed(before, weights(built)) == set()
    norm.moving_variance.assign(norm.moving_variance * float("nan"))
    (name,) = schedule.not_finite()
    assert name.startswith("model/") and name.endswith("norm/moving_variance")


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_every_kernel_decays_once_a_step(small_config, batch, kind, name):
    values = {"loss.rpn": "0,0", "loss.classifier": "0,0", "optimizer.weight_decay": 0.5}
    config = small_config.replace(PLAIN_SGD | values | {"optimizer.name": name})
    built, schedule = set_up(config, kind)
    before = weights(built)
    schedule.train_step(batch)
    for layer, (kernel, bias) in weights(built).items():
        np.testing.assert_allclose(kernel, before[layer][0] * (1 - 0.01 * 0.5), rtol=1e-5, err_msg=layer)
        np.testing.assert_array_equal(bias, before[layer][1])


# Steps against the plain sub-models.

PLAIN_SGD = {
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.01,
    "optimizer.warmup_steps": 0,
    "optimizer.momentum": 0.0,
    "optimizer.bias_lr_factor": 1.0,
    "optimizer.weight_decay": 0.0,
    "optimizer.clip_norm": 0.0,
}


def full_maps(batch, built):
    """Return the RPN's targets at all cells."""
    cells = batch.targets.cells
    image, slot = np.nonzero(cells >= 0)
    count = len(built.anchor_generator(*batch.images.shape[1:3])[0]) // built.num_anchors
    maps = []
    for few in batch.targets[1:]:
        whole = np.zeros((len(cells), count, few.shape[-1]), "float32")
        whole[image, cells[image, slot]] = few[image, slot]
        maps.append(whole)
    return maps


def plain_steps(built, schedule, batch, in_turn, generator=None):
    """Train the sub-models of ``FasterRCNN`` by ``train_on_batch``, on the whole maps.

    Returns:
        The RPN's logs, the classifier's, and the weights after each. Unless ``in_turn`` the second
        starts from the same weights as the first.
    """
    if generator is None:  # that of a schedule's first step
        generator = rng_module.generator(schedule.config.train.seed, rng_module.ROIS, 0)
    inputs, *_ = schedule._rpn_data(batch, generator)
    sampled = built.proposal_targets.predict_on_batch(
        [inputs[one.name] for one in built.proposal_targets.inputs]
    )
    compile_sub_models(built, schedule.config, total_steps=10)
    options = {"sample_weight": batch.weights, "return_dict": True}
    start = {model: model.get_weights() for model in (built.rpn, built.classifier)}
    rpn = built.rpn.train_on_batch(batch.images, full_maps(batch, built), **options)
    after_rpn = weights(built)
    if not in_turn:
        for model, values in start.items():
            model.set_weights(values)
    rois, targets = [batch.images, sampled["rois"]], [sampled["y_class"], sampled["y_regress"]]
    classifier = built.classifier.train_on_batch(rois, targets, **options)
    return rpn, classifier, after_rpn, weights(built)


def close(found, expected, scale):
    for name, values in expected.items():
        for one, other in zip(found[name], values):
            np.testing.assert_allclose(one, other, rtol=0, atol=scale, err_msg=name)


def test_alternating_is_the_two_sub_models_in_turn(small_config, batch):
    """The savings change nothing but when the proposals are made."""
    config = small_config.replace(PLAIN_SGD)
    rpn, classifier, _, expected = plain_steps(*set_up(config), batch, in_turn=True)
    built, schedule = set_up(config)
    before = weights(built)
    scalars = schedule.train_step(batch)
    assert scalars["rpn/loss"] == pytest.approx(float(rpn["loss"]), rel=1e-5)
    assert scalars["classifier/loss"] == pytest.approx(float(classifier["loss"]), rel=1e-5)
    moved = max(np.abs(a - b).max() for n in before for a, b in zip(before[n], expected[n]))
    close(weights(built), expected, scale=1e-4 * moved)


def test_joint_s_gradient_is_that_of_the_summed_losses(small_config, batch):
    config = small_config.replace(PLAIN_SGD | {"loss.rpn": "1,2", "loss.classifier": "0.5,1"})
    other, schedule = set_up(config)
    start = weights(other)
    rpn, classifier, after_rpn, after_classifier = plain_steps(other, schedule, batch, in_turn=False)
    built, schedule = set_up(config, "joint")
    scalars = schedule.train_step(batch)
    assert scalars["rpn/loss"] == pytest.approx(float(rpn["loss"]), rel=1e-5)
    assert scalars["classifier/loss"] == pytest.approx(float(classifier["loss"]), rel=1e-5)
    # Plain SGD moves a weight by rate times gradient, so moves add up as gradients do.
    expected = {
        name: [a + b - s for a, b, s in zip(after_rpn[name], after_classifier[name], values)]
        for name, values in start.items()
    }
    moved = max(np.abs(a - b).max() for n in start for a, b in zip(start[n], expected[n]))
    close(weights(built), expected, scale=1e-4 * moved)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_images_of_many_sizes_are_traced_once(small_config, kind):
    """With TensorFlow, which leaves the sizes open."""
    _, schedule = set_up(small_config, kind)
    rng, traces = np.random.default_rng(0), []
    for _ in range(6):
        sides = {
            "data.short_side": int(rng.integers(40, 90)),
            "data.long_side": int(rng.integers(90, 160)),
        }
        config = small_config.replace(sides)
        scalars = schedule.train_step(first_batch(build.load(config.data)[0], config))
        traces.append(scalars["traces"] / len(schedule.step_models))
    assert traces == [1] * 6


# What a step returns.


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_scalars_are_the_designs(small_config, batch, kind):
    _, schedule = set_up(small_config, kind)
    both = {"total_loss", "rpn/loss", "classifier/loss", "classifier/accuracy", *LOSSES} | {
        "rpn/recall",
        "rpn/mean_overlapping_boxes",
        "classifier/positive_rois",
    }
    own = {
        "joint": {"time/step", "gradient_norm/joint"},
        "alternating": {
            *("time/rpn", "time/classifier", "gradient_norm/rpn", "gradient_norm/classifier")
        },
    }[kind]
    trained = schedule.train_step(batch)
    assert set(trained) == both | own | {"learning_rate/rpn", "learning_rate/classifier", "traces"}
    assert set(schedule.validation_step(batch, np.random.default_rng(0))[0]) == both
    assert all(type(value) is float and np.isfinite(value) for value in trained.values())


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_validation_step_is_the_sub_models_and_the_detector(small_config, batch, kind):
    """One pass through the backbone gives the losses of the training steps and the detections."""
    built, schedule = set_up(small_config.replace({"detection.score_threshold": 0.0}), kind)
    scalars, detections = schedule.validation_step(batch, np.random.default_rng(0))
    rpn, classifier, *_ = plain_steps(built, schedule, batch, False, np.random.default_rng(0))
    assert scalars["rpn/loss"] == pytest.approx(float(rpn["loss"]), rel=1e-5)
    assert scalars["classifier/loss"] == pytest.approx(float(classifier["loss"]), rel=1e-5)
    built, _ = set_up(small_config.replace({"detection.score_threshold": 0.0}), kind)
    expected = built.detector.predict_on_batch([batch.images, batch.image_sizes])
    assert expected[1].max() > 0
    for one, other in zip(detections, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_loss_weights_are_handed_to_compile(small_config, batch):
    config = small_config.replace({"loss.rpn": "2,0.5", "loss.classifier": "0.25,3"})
    scalars, _ = set_up(config)[1].validation_step(batch, np.random.default_rng(0))
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
        "optimizer.bias_lr_factor": 1.0,
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
        gradient = slope(schedule, batch, bias)
        scalars = schedule.train_step(batch)
        assert scalars["learning_rate/rpn"] == pytest.approx(rate, rel=1e-5), step
        assert scalars["learning_rate/classifier"] == pytest.approx(rate, rel=1e-5), step
        moved = before[0] - numpy(bias)[0]
        assert moved == pytest.approx(rate * gradient, rel=0.05, abs=1e-7), step


def slope(schedule, batch, bias, width=1e-2):
    """Return the derivative of the RPN's loss by its first bias, by central difference."""
    start, losses = numpy(bias).copy(), []
    for sign in (1, -1):
        shifted = start.copy()
        shifted[0] += sign * width
        bias.assign(shifted)
        losses.append(schedule.validation_step(batch, np.random.default_rng(0))[0]["rpn/loss"])
    bias.assign(start)
    return (float(losses[0]) - float(losses[1])) / (2 * width)


# Accuracy.

# Two RoIs, a right one and a wrong one, and two of padding, whose likeliest class is the first, as that
# of an all-zero row.
LABELS = np.array([[[0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]], "float32")
SCORES = np.array([[[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.9, 0.1, 0], [0.8, 0.1, 0.1]]], "float32")


def test_accuracy_ignores_padding():
    metric = RoiAccuracy()
    metric.update_state(LABELS, SCORES)
    assert float(metric.result()) == 0.5
    metric.update_state(LABELS[:, :1], SCORES[:, :1])
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.reset_state()
    metric.update_state(LABELS, SCORES, sample_weight=np.array([[3.0, 1.0, 5.0, 5.0]], "float32"))
    assert float(metric.result()) == 0.75
    metric.reset_state()
    both = [np.concatenate([part, part[:, [1, 1, 2, 2]]]) for part in (LABELS, SCORES)]
    metric.update_state(*both, sample_weight=np.array([1.0, 2.0], "float32"))  # the second is wrong
    assert float(metric.result()) == pytest.approx(1 / 6)


def test_a_step_s_accuracy_ignores_padding(frozen, batch):
    built, schedule = frozen
    rois = np.tile(np.array([[[0, 0, 40, 40]] * 2 + [[0, 0, 0, 0]] * 6], "float32"), (2, 1, 1))
    scores, deltas = built.classifier.predict_on_batch([batch.images, rois])
    classes = scores.shape[-1]
    likeliest = scores.argmax(axis=-1)
    y_class = np.eye(classes, dtype="float32")[likeliest]
    y_class[0, 0] = np.roll(y_class[0, 0], 1)  # one of four is wrong
    y_class[:, 2:] = 0.0
    targets = y_class, np.zeros((*deltas.shape[:2], 2 * deltas.shape[-1]), "float32")
    inputs = {"images": batch.images, "rois": rois}
    targets = dict(zip(built.classifier.output_names, targets))
    logs, _ = schedule.classifier_step.run(inputs, targets, batch.weights, learn=False)
    assert logs.read()[f"dense_class_{classes}_accuracy"] == pytest.approx(0.75)


def test_class_weights_come_by_name():
    outputs = SimpleNamespace(output_names=["dense_class_3", "dense_regress_3"])
    cascade = SimpleNamespace(stages=[outputs])
    few = SimpleNamespace(classifier=outputs, cascade=cascade, num_classes=3, kind=AXIS_ALIGNED)

    def class_loss(**values):
        config = Config().replace({key.replace("_", ".", 1): value for key, value in values.items()})
        term, _ = classifier_terms(few, config, sampled=True)
        return float(term.loss(np.eye(3, dtype="float32"), np.exp([[-1.0, -2.0, -4.0]] * 3)))

    assert class_loss() == pytest.approx((1 + 2 + 4) / 3)
    names = {"data_classes": "cat,dog"}
    assert class_loss(**names, loss_class_weights="dog=3,background=0.5") == pytest.approx(
        (1 + 3 * 2 + 0.5 * 4) / 3
    )
    # An object class may be called background: then the name is that class's.
    assert class_loss(data_classes="background,dog", loss_class_weights="background=2") == pytest.approx(
        (2 * 1 + 2 + 4) / 3
    )
    with pytest.raises(ConfigError, match="data.classes is empty"):
        class_loss(loss_class_weights="dog=3")


# Images without objects.


def test_images_without_any_object_train_as_background(small_config):
    train, _ = build.load(small_config.data)
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
