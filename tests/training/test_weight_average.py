"""``train.ema``: the average against its formula, and which weights a run validates and saves."""

import contextlib
import dataclasses
import io

import h5py
import keras
import numpy as np
import pytest

from frcnn.config.schema import Config
from frcnn.data import build
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.detector import Detector
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training import train as train_module
from frcnn.training.alternating import Alternating
from frcnn.training.joint import Joint
from frcnn.training.weight_average import WeightAverage


def values(variables):
    return [keras.ops.convert_to_numpy(own) for own in variables]


def test_the_average_is_that_of_its_formula():
    rng = np.random.default_rng(0)
    weights = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in ((3, 2), (4,))]
    expected = values(weights)
    average = WeightAverage(weights, decay=0.3)
    done = 0
    for step in range(6):
        for weight in weights:
            weight.assign_add(rng.normal(size=weight.shape).astype("float32"))
        applied = step != 2
        average.update(keras.ops.convert_to_tensor(float(applied)))
        if applied:
            keep = min(0.3, (1 + done) / (10 + done))
            expected = [keep * old + (1 - keep) * new for old, new in zip(expected, values(weights))]
            done += 1
    for found, own in zip(values(average.averages), expected):
        np.testing.assert_allclose(found, own, rtol=1e-5)
    assert float(average.count) == 5


def test_the_weights_come_back_as_they_were():
    weight = keras.Variable(np.array([1.0, 2.0], "float32"))
    average = WeightAverage([weight], decay=0.9)
    weight.assign([3.0, 5.0])
    average.update(keras.ops.convert_to_tensor(1.0))
    (mean,) = values(average.averages)
    with average.shown():
        np.testing.assert_array_equal(weight, mean)
        with average.shown(), average.shown(averaged=False):  # as for a checkpoint in a validation
            np.testing.assert_array_equal(weight, [3, 5])
            np.testing.assert_array_equal(average.averages[0], mean)
        np.testing.assert_array_equal(weight, mean)
    np.testing.assert_array_equal(weight, [3, 5])
    with pytest.raises(KeyError), average.shown():
        raise KeyError
    np.testing.assert_array_equal(weight, [3, 5])
    (own,) = average.of([weight])
    assert own is average.averages[0]


@pytest.mark.parametrize("schedule", [Alternating, Joint])
def test_the_steps_of_a_schedule_average_their_weights(small_config, schedule):
    """Of the steps that are applied: here all but the third."""
    config = small_config.replace({"train.ema": 0.5})
    models = FasterRCNN.from_config(config, 4)
    steps = schedule(models, config, 10)
    creator = AnchorTargetCreator(models.anchor_generator, config.rpn)
    loader = DataLoader(build.load(config.data)[0], config.data, 8, make_targets=creator)
    batch = next(loader.epoch())
    broken = dataclasses.replace(batch, weights=batch.weights * np.float32("nan"))
    expected, done = values(steps.average.variables), 0
    for number in range(5):
        applied = number != 2
        assert steps.train_step(batch if applied else broken).applied == applied
        if applied:
            keep = min(0.5, (1 + done) / (10 + done))
            now = values(steps.average.variables)
            expected = [keep * old + (1 - keep) * new for old, new in zip(expected, now)]
            done += 1
    for found, own in zip(values(steps.average.averages), expected, strict=True):
        np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-7)


def test_a_run_validates_and_saves_the_average(small_config, tmp_path):
    config = small_config.replace(
        {"train.ema": 0.9, "train.epochs": 1, "train.steps_per_epoch": 3, "train.best_weights": "last"}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        result = train_module.train(config, tmp_path / "run")
    kernels = {}
    for name in ("last", "ema", "best"):
        with h5py.File(tmp_path / "run" / f"{name}.weights.h5") as file:
            found = {}
            file.visititems(
                lambda path, item, found=found: (
                    found.update({path: np.asarray(item)})
                    if isinstance(item, h5py.Dataset) and item.dtype.kind == "f"
                    else None
                )
            )
        kernels[name] = found
    assert all((kernels["best"][key] == own).all() for key, own in kernels["ema"].items())
    assert any((kernels["last"][key] != own).any() for key, own in kernels["ema"].items())
    with contextlib.redirect_stdout(io.StringIO()):
        again = train_module.train(config, tmp_path / "run", resume=True)
    assert again is None and result is not None
    assert Detector.load(tmp_path / "run", weights="ema.weights.h5").classes


def test_it_goes_with_one_network():
    with pytest.raises(ConfigError, match="train.ema must be 0 with train.schedule=four-step"):
        Config().replace({"train.ema": 0.9, "train.schedule": "four-step"})
