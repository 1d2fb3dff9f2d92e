"""Frozen stages that learn from an epoch on: what changes, what is carried over, and going on again."""

import dataclasses

import keras
import numpy as np
import pytest
from test_schedules import SCHEDULES, changed, first_batch, numpy, weights

from frcnn import backend
from frcnn.config.schema import Config
from frcnn.data import build
from frcnn.errors import ConfigError
from frcnn.models import backbones
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training import unfreezing

FIRST = {"tiny_conv1", "tiny_conv2"}


def half_frozen(pixels, config):
    """The backbone ``tiny`` whose first two layers are frozen, as with pretrained weights."""
    backbone = backbones.tiny(pixels, config)
    for layer in keras.Model(pixels, backbone.features).layers:
        layer.trainable = layer.name not in FIRST
    return backbone


@pytest.fixture
def start(small_config, monkeypatch):
    """Return a function that builds a network and its schedule: two epochs of two steps."""
    tiny = dataclasses.replace(backbones.BACKBONES["tiny"], build=half_frozen)
    monkeypatch.setitem(backbones.BACKBONES, "tiny", tiny)

    def start(kind, **values):
        settings = {"train.epochs": 2, "model.unfreeze_at": 2, "optimizer.warmup_steps": 0}
        config = small_config.replace(settings | {k.replace("__", "."): v for k, v in values.items()})
        backend.prepare_device()
        keras.utils.set_random_seed(5)
        models = FasterRCNN.from_config(config, 4, allow_random_frozen=True)
        return models, SCHEDULES[kind](models, config, 4)

    return start


@pytest.fixture(scope="module")
def batch(small_config):
    return first_batch(build.load(small_config.data)[0], small_config)


def state(schedule):
    return {name: numpy(own).copy() for name, own in schedule.variables().items()}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_first_stages_learn_from_the_second_epoch_on(start, batch, kind):
    models, schedule = start(kind, optimizer__name="sgd")
    assert (models.frozen_backbone is not None) and {layer.name for layer in schedule.frozen} == FIRST
    before = weights(models)
    for _ in range(2):
        assert schedule.train_step(batch).applied
    assert not changed(before, weights(models)) & FIRST
    old = dict(schedule.optimizers)
    velocity = {id(v): numpy(m) for v, m in zip(old["rpn"]._trainable_variables, old["rpn"].momentums)}
    schedule._unfreeze_if_due(2)
    new = schedule.optimizers["rpn"]
    assert new is not old["rpn"] and int(new.iterations) == 2
    for variable, momentum in zip(new._trainable_variables, new.momentums):
        expected = velocity.get(id(variable), np.zeros(variable.shape))
        np.testing.assert_array_equal(numpy(momentum), expected)
    assert len(new.momentums) == len(velocity) + 4
    before = weights(models)
    assert schedule.train_step(batch).applied
    assert changed(before, weights(models)) >= FIRST


@pytest.mark.parametrize(
    "kind, steps, settings",
    [  # from the second epoch, and from the end of the first
        ("joint", 3, {"train__ema": 0.9}),
        ("alternating", 3, {}),
        ("joint", 2, {"train__precision": "mixed_float16", "optimizer__name": "sgd"}),
    ],
)
def test_it_goes_on_bit_for_bit(start, batch, kind, steps, settings):
    _, whole = start(kind, **settings)
    for _ in range(steps):
        whole.train_step(batch)
    kept = state(whole)
    whole.train_step(batch)
    _, again = start(kind, **settings)
    again.restore(steps, kept)
    again.train_step(batch)
    expected, found = state(whole), state(again)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_settings_that_do_not_fit_are_refused(small_config):
    config = small_config.replace({"train.epochs": 3, "model.unfreeze_at": 2})
    with pytest.raises(ConfigError, match="model.unfreeze_at is 2, but no stage of tiny is frozen"):
        unfreezing.frozen_layers(FasterRCNN.from_config(config, 4), config)
    assert unfreezing.first_step(config, 30) == 10
    for values, says in (
        (
            {"train.epochs": 3, "model.unfreeze_at": 4},
            r"unfreeze_at=\d+ must not be above train.epochs=\d+",
        ),
        (
            {"model.unfreeze_at": 4, "train.schedule": "four-step"},
            "must be 0 with train.schedule",
        ),
    ):
        with pytest.raises(ConfigError, match=says):
            Config().replace(values)
