"""``train.xla``: one compiled program per step and shape, and the same weights as without it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from bucket_steps import random_images
from train_steps import CONFIG, made_models

from frcnn.backend import IS_TENSORFLOW, compiling
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.training.alternating import Alternating
from frcnn.training.joint import Joint

pytestmark = pytest.mark.skipif(not IS_TENSORFLOW, reason="JAX always compiles with XLA")
STEPS = 20
SIZES = {
    "data.short_side": 48,
    "data.long_side": 96,
    "data.pad_multiple": 96,
    "data.batch_size": 2,
    "optimizer.name": "sgd",
    "optimizer.warmup_steps": 0,
}


def trained(schedule, xla, dataset):
    """Return the losses of ``STEPS`` steps, the weights after them, and in how many programs."""
    config = CONFIG.replace(SIZES | {"train.xla": xla})
    models = made_models(config)
    training = schedule(models, config, 100)
    batches = DataLoader(
        dataset,
        config.data,
        models.size_multiple,
        make_targets=AnchorTargetCreator(models.anchor_generator, config.rpn),
    )
    losses = []
    for _, batch in zip(range(STEPS), batches.stream()):
        scalars = training.train_step(batch)
        losses.append({tag: value for tag, value in dict(scalars).items() if "loss" in tag})
    weights = [keras.ops.convert_to_numpy(own) for own in models.detector.trainable_variables]
    return losses, weights, dict(scalars)["traces"]


@pytest.fixture
def compiled_by_xla(monkeypatch):
    """Return a list that gets whether XLA compiles, for each function that a step model traces."""
    found, function = [], tf.function

    def noted(*given, **options):
        if "input_signature" in options:
            found.append(bool(options.get("jit_compile")))
        return function(*given, **options)

    monkeypatch.setattr(compiling.tf, "function", noted)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [Joint, Alternating])
def test_twenty_steps_under_xla_end_with_the_same_weights(schedule, tmp_path, compiled_by_xla):
    dataset = random_images(tmp_path, 6)
    losses, weights, _ = trained(schedule, False, dataset)
    assert True not in compiled_by_xla
    found_losses, found, traces = trained(schedule, True, dataset)
    assert traces == (1 if schedule is Joint else 2)  # one shape
    assert compiled_by_xla.count(True) == traces
    for expected, own in zip(losses, found_losses, strict=True):
        assert own == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for expected, own in zip(weights, found, strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-5)
    assert losses[0] != pytest.approx(losses[-1], rel=1e-2)  # the steps did something
