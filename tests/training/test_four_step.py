"""What each phase changes, where it starts from, its rates; and a run that goes on after a phase."""

import contextlib
import io
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from interrupted_runs import assert_alike
from interrupted_runs import weights as weights_in

from frcnn import backend
from frcnn.data import build as build_module
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.errors import ConfigError
from frcnn.layers import conv, proposals
from frcnn.models.backbones import BACKBONES, Backbone, BackboneKind
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops.anchors import AnchorGenerator
from frcnn.runs import checkpoints
from frcnn.training import train as train_module
from frcnn.training.alternating import Alternating
from frcnn.training.four_step import FourStep
from frcnn.weights import detector_files

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
    return Backbone((conv.batch_norm(x, "norm"),), (8,), size_multiple=8)


@pytest.fixture(scope="module", autouse=True)
def backbone():
    backend.prepare_device()  # first of all, as TensorFlow wants it; so that the same is the same
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", BackboneKind(normed, "tf"))
        yield


@pytest.fixture(scope="module")
def config(small_config):
    return small_config.replace(VALUES)


def build(config):
    """Return ``FasterRCNN`` with random weights, those of the frozen layer among them."""
    return FasterRCNN.from_config(config, 4, allow_random_frozen=True)


@pytest.fixture(scope="module")
def batch(config):
    targeter = AnchorTargetCreator(AnchorGenerator(strides=(8,), **vars(config.anchors)), config.rpn)
    dataset = build_module.load(config.data)[0]
    return next(DataLoader(dataset, config.data, 8, 0, True, targeter).epoch())


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
    built = build(config)
    schedule = FourStep(built, config, 16)
    seen = SimpleNamespace(schedule=schedule, weights=[weights(built)], scalars=[], validation={})
    seen.detections = {}
    for step in range(1, 17):
        seen.scalars.append(schedule.train_step(batch))
        seen.weights.append(weights(built))
        if step % 4 == 0:
            scalars, detections = schedule.validation_step(batch, np.random.default_rng(0))
            seen.validation[step // 4], seen.detections[step // 4] = scalars, detections
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
    built = build(config)
    scalars = Alternating(built, config, 4).train_step(batch)
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
        built = build(config)
        layers = {layer.name: layer for model in (built.rpn, built.classifier) for layer in model.layers}
        for name, values in phases.weights[step].items():
            layers[name].set_weights(values)
        networks.append(built)
    proposer, classifier = networks
    (propose,) = (one for one in proposer.detector.layers if isinstance(one, proposals.ProposalLayer))
    inputs = [batch.images, batch.image_sizes]
    rois = keras.Model(proposer.detector.inputs, propose.output).predict_on_batch(inputs)
    scores, deltas = classifier.classifier.predict_on_batch([batch.images, rois])
    (detect,) = (
        one for one in classifier.detector.layers if isinstance(one, proposals.PostprocessLayer)
    )
    expected = detect(rois, scores, deltas, batch.image_sizes)
    for found, wanted in zip(phases.detections[2], expected):
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(wanted), rtol=1e-4, atol=1e-4)


def test_fewer_steps_than_phases_are_refused(config):
    with pytest.raises(ConfigError, match="at least 4 training steps, not 3"):
        FourStep(build(config), config, 3)


# A run.


# Two steps a phase.
RUN = {"train.epochs": 4, "data.batch_size": 4, "checkpoint.every_steps": 1, "checkpoint.keep": 99}


def train(config, run, resume=False):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return train_module.train(config, run, resume)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """Train four epochs, a phase each, once through the data, and keep every checkpoint."""
    folder = tmp_path_factory.mktemp("runs")
    train(pretrained(config, folder), folder / "run")
    return folder / "run"


def pretrained(config, folder):
    """Return the config of a run from weights in a file in a folder, which is written once."""
    path = folder / "start.weights.h5"
    if not path.exists():
        keras.utils.set_random_seed(5)
        config = config.replace({"data.classes": "circle,square,triangle"})
        detector_files.save(build(config), config, path)
    return config.replace(RUN | {"model.weights": str(path)})


def test_the_best_weights_are_of_the_last_phase(run):
    files = [weights_in(run / f"{name}.weights.h5") for name in ("best", "last")]
    assert files[0].keys() == files[1].keys()
    assert all(np.array_equal(files[0][name], files[1][name]) for name in files[0])


@pytest.mark.parametrize("step", [4, *(pytest.param(step, marks=pytest.mark.slow) for step in (3, 5))])
def test_a_run_goes_on_within_and_between_phases_as_if_never_interrupted(run, config, tmp_path, step):
    """After step 3 within phase 2, which needs phase 1's network; after 4 between; after 5 within 3."""
    again = shutil.copytree(run, tmp_path / "run")
    for path in checkpoints.list_checkpoints(again / "checkpoints"):
        if int(path.name.split("-")[3]) > step:
            shutil.rmtree(path)
    train(pretrained(config, run.parent), again, resume=True)
    assert_alike(run, again)
