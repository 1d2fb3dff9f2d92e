"""What each phase changes, where it starts from, its rates; and a run that goes on after a phase."""

import contextlib
import csv
import io
import shutil
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from frcnn import backend, blocks, models, trainer
from frcnn.anchors import Pyramid
from frcnn.backbones import BACKBONES, Backbone, BackboneKind
from frcnn.data import datasets
from frcnn.data.pipeline import Pipeline
from frcnn.errors import ConfigError
from frcnn.four_step import FourStep
from frcnn.schedules import Alternating
from frcnn.targets import RpnTargeter

BACKBONE = {"conv", "norm"}
RPN = {"rpn_conv", "rpn_class_logits", "rpn_deltas"}
HEAD = {"head_dense1", "head_dense2", "class_logits", "box_deltas"}
LEARNT = {1: BACKBONE | RPN, 2: BACKBONE | HEAD, 3: RPN, 4: HEAD}
VALUES = {
    "model.head_dropout": 0.5,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 0.02,
    "optimizer.warmup_steps": 2,
    "optimizer.decay_at": "0.75",
    "train.schedule": "four-step",
}


def normed(pixels, config):
    """A backbone with a frozen layer and with batch normalization that learns."""
    x = keras.layers.Conv2D(8, 3, 4, "same", activation="relu", name="frozen", trainable=False)(pixels)
    x = keras.layers.Conv2D(16, 3, 2, "same", name="conv")(x)
    return Backbone((blocks.batch_norm(x, "norm"),), (8,), size_multiple=8)


@pytest.fixture(scope="module", autouse=True)
def backbone():
    backend.prepare_device()  # first of all, as TensorFlow wants it; so that the same is the same
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", BackboneKind(normed, "tf"))
        yield


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.replace(VALUES)


@pytest.fixture(scope="module")
def batch(config):
    targeter = RpnTargeter(Pyramid(config.anchors, (8,)), config.rpn)
    dataset = datasets.load(config.data)[0]
    return next(Pipeline(dataset, config.data, 8, 0, True, targeter).epoch())


def weights(built):
    """Return {layer: its weights, batch normalization's statistics among them, copied}."""
    layers = {layer.name: layer for model in (built.rpn, built.classifier) for layer in model.layers}
    return {name: layer.get_weights() for name, layer in layers.items() if layer.weights}


def changed(before, after):
    """Return the layers that differ in any weight, by any bit."""
    return {name for name in before if any((a != b).any() for a, b in zip(before[name], after[name]))}


@pytest.fixture(scope="module")
def phases(config, batch):
    """Train 16 steps on one batch; return the weights and the scalars around each, and validations."""
    keras.utils.set_random_seed(5)
    built = models.build(config, 3)
    schedule = FourStep(built, config, 16, np.random.default_rng(6))
    seen = SimpleNamespace(schedule=schedule, weights=[weights(built)], scalars=[], validation={})
    seen.detections = {}
    for step in range(1, 17):
        seen.scalars.append(schedule.train_step(batch))
        seen.weights.append(weights(built))
        if step % 4 == 0:
            seen.validation[step // 4] = schedule.validation_step(batch, np.random.default_rng(0))
            seen.detections[step // 4] = schedule.validated.detector.predict_on_batch(
                [batch.images, batch.image_sizes]
            )
    assert changed(seen.weights[-1], weights(built)) == set()  # validating changes nothing
    return seen


def test_each_phase_trains_its_layers_and_not_a_bit_of_the_others(phases):
    for step in range(1, 17):
        phase = (step - 1) // 4 + 1
        before, after = phases.weights[step - 1 : step + 1]
        if step == 5:
            before = phases.weights[0]  # phase 2 starts from the initial weights
        assert changed(before, after) == LEARNT[phase], step


def test_phase_3_starts_from_the_detectors_backbone_and_a_fresh_rpn(phases):
    start, second, third = (phases.weights[step] for step in (0, 8, 12))
    assert changed(second, third) == RPN
    assert not RPN & changed(start, second)


def test_phase_1_trains_what_the_rpn_of_alternating_trains(config, batch, phases):
    keras.utils.set_random_seed(5)
    built = models.build(config, 3)
    generator = np.random.default_rng(6).spawn(4)[0]
    scalars = Alternating(built, config, 4, generator).train_step(batch)
    for tag in ("rpn/loss_cls", "rpn/loss_regr", "rpn/mean_overlapping_boxes"):
        assert scalars[tag] == pytest.approx(phases.scalars[0][tag], rel=1e-5)
    assert set(scalars) | {"phase"} == set(phases.scalars[0])


def test_every_phase_has_the_same_scalars_and_its_number(phases):
    assert all(set(one) == set(phases.scalars[0]) for one in phases.scalars)
    assert [one["phase"] for one in phases.scalars] == [1.0] * 4 + [2.0] * 4 + [3.0] * 4 + [4.0] * 4
    assert all(np.isfinite(value) for one in phases.scalars for value in one.values())


def test_each_phase_warms_up_and_decays_within_its_own_steps(phases):
    course = [0.01, 0.02, 0.02, 0.002]
    for name, phases_of_it in (("rpn", (1, 3)), ("classifier", (2, 4))):
        rates = [one[f"learning_rate/{name}"] for one in phases.scalars]
        expected = [rate * (phase in phases_of_it) for phase in (1, 2, 3, 4) for rate in course]
        np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_phase_2_validates_phase_1s_rpn_with_the_second_networks_head(config, batch, phases):
    first, second = phases.validation[1], phases.validation[2]
    same = ("rpn/loss_cls", "rpn/loss_regr", "rpn/mean_overlapping_boxes")
    assert [first[tag] for tag in same] == [second[tag] for tag in same]
    assert first["classifier/loss_cls"] != second["classifier/loss_cls"]
    assert [phases.validation[phase]["phase"] for phase in (1, 2, 3, 4)] == [1, 2, 3, 4]

    # Its detections, put together by hand from two networks.
    networks = []
    for step in (4, 8):
        built = models.build(config, 3)
        layers = {layer.name: layer for model in (built.rpn, built.classifier) for layer in model.layers}
        for name, values in phases.weights[step].items():
            layers[name].set_weights(values)
        networks.append(built)
    proposer, classifier = networks
    (propose,) = (one for one in proposer.detector.layers if isinstance(one, models.Propose))
    inputs = [batch.images, batch.image_sizes]
    rois = keras.Model(proposer.detector.inputs, propose.output).predict_on_batch(inputs)
    scores, deltas = classifier.classifier.predict_on_batch([batch.images, rois])
    expected = models.Detect(config)(rois, scores, deltas, batch.image_sizes)
    for found, wanted in zip(phases.detections[2], expected):
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(wanted), rtol=1e-4, atol=1e-4)


def test_fewer_steps_than_phases_are_refused(config):
    with pytest.raises(ConfigError, match="at least 4 training steps, not 3"):
        FourStep(models.build(config, 3), config, 3, np.random.default_rng(0))


# A run.


RUN = {"train.epochs": 4, "data.batch_size": 4}  # two steps a phase


def train(config, run, resume=False):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return trainer.train(config, run, resume)


def rows(run):
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "train_seconds"} for row in csv.DictReader(file)]


def stored(path):
    """Return {name: array} of all that a weight file holds but the states of random generators."""
    arrays = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset) and "seed" not in name:
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return arrays


def same(path, other):
    one, two = stored(path), stored(other)
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """Train four epochs, a phase each, once through the data."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(config.replace(RUN), folder)
    return folder


def test_the_run_keeps_each_phase_and_ends_with_the_last(run):
    names = {path.name for path in run.glob("*.h5")}
    phases = {f"phase-{phase}.weights.h5" for phase in (1, 2, 3, 4)}
    assert names == phases | {"best.weights.h5", "last.weights.h5"}
    assert same(run / "phase-4.weights.h5", run / "last.weights.h5")
    assert same(run / "phase-4.weights.h5", run / "best.weights.h5")  # of the last phase, always
    assert not same(run / "phase-3.weights.h5", run / "phase-4.weights.h5")
    assert [row["step"] for row in rows(run)] == ["2", "4", "6", "8"]


def test_a_run_goes_on_after_its_last_finished_phase_as_if_never_interrupted(run, config, tmp_path):
    again = shutil.copytree(run, tmp_path / "run")
    for phase in (2, 3, 4):
        (again / f"phase-{phase}.weights.h5").unlink()
    train(config.replace(RUN), again, resume=True)
    for phase in (2, 3, 4):
        assert same(run / f"phase-{phase}.weights.h5", again / f"phase-{phase}.weights.h5"), phase
    assert rows(again) == rows(run)


def test_a_run_that_cannot_be_resumed_says_why(run, config, tmp_path):
    config = config.replace({"train.epochs": 4})
    with pytest.raises(ConfigError, match="trained to its end"):
        train(config, run, resume=True)
    with pytest.raises(ConfigError, match="cannot be resumed.*phase-N.weights.h5"):
        train(config, tmp_path / "empty", resume=True)
