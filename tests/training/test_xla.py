"""``train.xla``: one compiled program per step and shape, and the same weights as without it."""

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from bucket_steps import batches_of, random_images
from train_steps import CONFIG, made_models

from frcnn.backend import IS_TENSORFLOW, compiling
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
    "optimizer.learning_rate": 1e-4,
}


def textured(dataset):
    """Fill images with noise: in grey ones all anchors score alike, and rounding decides their order."""
    rng = np.random.default_rng(5)
    for sample in dataset.samples:
        noise = rng.integers(0, 256, (sample.height, sample.width, 3)).astype("uint8")
        cv2.imwrite(sample.path, noise)
    return dataset


def trained(schedule, xla, dataset):
    """Return the losses of ``STEPS`` steps, the weights after them, and in how many programs."""
    config = CONFIG.replace(SIZES | {"train.xla": xla})
    models = made_models(config)
    training = schedule(models, config, 100)
    batches = batches_of(dataset, config, models)
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
    dataset = textured(random_images(tmp_path, 6))
    losses, weights, _ = trained(schedule, False, dataset)
    assert True not in compiled_by_xla
    found_losses, found, traces = trained(schedule, True, dataset)
    assert traces == (1 if schedule is Joint else 2)  # one shape
    assert compiled_by_xla.count(True) == traces
    assert found_losses[0]["rpn/loss"] == pytest.approx(losses[0]["rpn/loss"], rel=1e-5)
    # In most steps rounding makes two proposals change places, so that one RoI of 32 is another one.
    totals = [[own["total_loss"] for own in side] for side in (losses, found_losses)]
    assert np.median(np.abs(np.divide(*totals) - 1)) < 5e-3
    start = [keras.ops.convert_to_numpy(own) for own in made_models().detector.trainable_variables]
    moved = np.concatenate([(own - first).ravel() for own, first in zip(weights, start, strict=True)])
    apart = np.concatenate([(own - other).ravel() for own, other in zip(weights, found, strict=True)])
    assert np.linalg.norm(apart) < 0.03 * np.linalg.norm(moved)
    assert np.linalg.norm(moved) > 1e-4  # the steps did something
