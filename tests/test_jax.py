"""The core on Keras' JAX backend: its own tests again, and training steps beside TensorFlow's.

A backend is chosen when Keras is imported, so JAX runs in processes of its own.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import train_steps

HERE = Path(__file__).parent
# Two halves that take about as long as each other, a process each.
HALVES = (
    "ops/test_boxes ops/test_anchors ops/test_sampling ops/test_nms "
    "models/test_faster_rcnn layers/test_conv".split(),
    "ops/test_targets ops/test_losses ops/test_proposals layers/test_roi_align layers/test_roi_pool "
    "layers/test_sparse_rpn ops/test_postprocessing training/test_optimizers".split(),
)
# Three whole detectors, from torchvision's weights to its boxes.
DETECTORS = "convert/test_torchvision.py::test_detections_are_torchvision_s"
# Left to TensorFlow, so that all this takes no minute: JAX compiles for every shape, and networks of
# keras.applications for long. What these test besides is in the training steps and in the other tests.
LEFT_OUT = (
    "vgg16 resnet50 mobilenet frozen papers_settings leading_axes through_keras sample_weight_reaches "
    "last_axis_of_one"
)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow"),
]


def start(*arguments):
    """Start python with JAX as the backend, on the CPU, compiling quickly rather than well."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def core_tests():
    """The core's tests, started first so that they run while the training steps do."""
    selection = " and ".join(f"not {name}" for name in LEFT_OUT.split())
    options = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    processes = [start(*options, str(HERE / DETECTORS), str(HERE / "benchmark" / "test_gpu.py"))] + [
        start(*options, "-k", selection, *(str(HERE / f"{name}.py") for name in half)) for half in HALVES
    ]
    yield processes
    for process in processes:
        process.kill()


def test_train_steps_have_the_losses_of_tensorflow(core_tests):
    """Three of each sub-model from the same weights and inputs; gradients tell in the later ones."""
    process = start(str(HERE / "train_steps.py"))
    expected = train_steps.results()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = json.loads(output.splitlines()[-1])
    assert found["detector"] == pytest.approx(expected["detector"], rel=1e-3)
    for sub_model in ("rpn", "classifier"):
        for step, (logs, expected_logs) in enumerate(zip(found[sub_model], expected[sub_model])):
            assert logs == pytest.approx(expected_logs, rel=1e-3), (sub_model, step)
        # The steps did something.
        assert expected[sub_model][0] != pytest.approx(expected[sub_model][-1], rel=1e-2)


def test_a_step_is_compiled_once_a_bucket(core_tests):
    process = start(str(HERE / "bucket_steps.py"))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = json.loads(output.splitlines()[-1])
    assert found["sizes"] > 3 and found["steps"] > found["shapes"] == found["traces"] == 2


def test_the_cores_tests_pass_on_jax(core_tests):
    for process in core_tests:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
        assert " passed" in output
