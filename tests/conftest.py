"""Fixtures: for tests of the numeric core on either backend, and a small data set and network.

The tests of the numeric core run on the backend that ``KERAS_BACKEND`` names; ``test_jax.py`` runs them
again on JAX.
"""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# As ``import frcnn`` sets it, which here comes after Keras has imported TensorFlow.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# No cache file can be kept there: nothing is measured, and all machines choose alike.
os.environ["FRCNN_CACHE"] = os.devnull

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import settings

from frcnn.config.presets import preset
from frcnn.data import shapes

GOLDEN = Path(__file__).parent / "golden"

# The same examples every time, so that a change that is no fault never turns a test red; and no limit on
# the time of one, as the first of them may wait for TensorFlow to load a kernel.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=40)
settings.load_profile("repeatable")


def pytest_configure():
    """Handle signals that a background job or nohup ignores, as commands inherit the handling."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1", "SIGTERM"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture
def golden():
    """Return a function from a table's name to its arrays; ``golden/README.md`` describes them."""
    return lambda name: dict(np.load(GOLDEN / f"{name}.npz"))


@pytest.fixture
def gradient():
    """Return ``gradient(function, value)``: numpy derivative of a scalar function at an array.

    It has the dtype of ``value``, and works on either backend.
    """
    if keras.backend.backend() == "jax":
        import jax

        return lambda function, value: np.asarray(jax.grad(function)(jax.numpy.asarray(value)))

    import tensorflow as tf

    def by_tape(function, value):
        value = tf.constant(value)
        with tf.GradientTape() as tape:
            tape.watch(value)
            result = function(value)
        return tape.gradient(result, value).numpy()

    return by_tape


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory):
    """Return a VOC folder of drawn shapes, 8 images in ``train``, 4 in ``val``. Do not write to it."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    shapes.make(root, {"train": 8, "val": 4}, seed=3)
    return root


@pytest.fixture(scope="session")
def small_config(shapes_folder):
    """Return the config of a small, fast network on ``shapes_folder``, whose accuracy is low."""
    values = {
        "data.dataset": "voc",
        "data.dir": str(shapes_folder),
        "data.short_side": 80,
        "data.long_side": 120,
        "data.batch_size": 2,
        "model.preprocessing": "tf",
        "model.rpn_channels": 16,
        "train.conv_tiles": (),  # tracing both ways takes longer than either of them saves
        "model.head_width": 16,
        "model.pool_size": 3,
        "anchors.sizes": (16.0, 32.0),
        "rpn.samples": 32,
        "rpn.pre_nms_train": 100,
        "rpn.post_nms_train": 40,
        "rpn.post_nms_test": 20,
        "roi.samples": 16,
    }
    return preset("shapes").replace(values)
