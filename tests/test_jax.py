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

from frcnn.distributed.launcher import worker_environments

HERE = Path(__file__).parent
# Parts that take about as long as each other, a process each.
PARTS = {
    "boxes": (
        "ops/test_boxes ops/test_anchors ops/test_sampling ops/test_nms ops/test_targets "
        "models/test_faster_rcnn models/test_keras_backbone layers/test_conv"
    ),
    "losses": "ops/test_losses training/test_optimizers layers/test_roi_pool layers/test_sparse_rpn",
    "regions": "ops/test_proposals ops/test_postprocessing ops/test_soft_nms layers/test_roi_align",
    "oriented": (
        "ops/test_oriented_boxes ops/test_oriented_iou ops/test_oriented_views "
        "layers/test_rotated_roi_align models/test_oriented"
    ),
    # Three whole detectors, from torchvision's weights to their boxes.
    "detectors": "convert/test_torchvision benchmark/test_gpu",
}
# Left to TensorFlow, so that all this takes no minute: JAX compiles for every shape, and networks of
# keras.applications for long. What these test besides is in the training steps and in the other tests.
LEFT_OUT = (
    "vgg16 resnet50 mobilenet frozen papers_settings leading_axes through_keras sample_weight_reaches "
    "last_axis_of_one learns_the_boxes_of_an_image"
)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="compares with TensorFlow"),
]


def start(*arguments, devices=1, **variables):
    """Start python with JAX as the backend, on the CPU, compiling quickly rather than well."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        cwd=HERE.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(*arguments, devices=1):
    """Run python with JAX as the backend and return what it printed, the errors in between."""
    process = start(*arguments, devices=devices)
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def test_train_steps_have_the_losses_of_tensorflow():
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


@pytest.mark.slow
def test_four_devices_do_what_one_does_with_their_images_together():
    output = output_of(str(HERE / "data_parallel_steps.py"), devices=4)
    check_same_steps(output, devices=4)


@pytest.mark.slow
def test_two_processes_with_two_devices_do_what_one_device_does_with_all_images():
    script = str(HERE / "data_parallel_steps.py")
    processes = [start(script, devices=2, **one) for one in worker_environments(2)]
    try:
        outputs = [process.communicate(timeout=900)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output
        check_same_steps(output, devices=2)


def check_same_steps(output, devices):
    """Check what ``data_parallel_steps`` has printed in a process with some of the four devices."""
    for schedule, found in json.loads(output.splitlines()[-1]).items():
        one, several = found["one"], found["several"]
        assert (one["devices"], several["devices"]) == (1, devices)
        assert (one["images"], several["images"]) == ([4, 2, 4, 2], [devices] * 4)
        for step, (expected, logs) in enumerate(zip(one["losses"], several["losses"], strict=True)):
            expected.pop("traces", None), logs.pop("traces", None)
            assert logs == pytest.approx(expected, rel=1e-5, abs=1e-5), (schedule, step)
        assert several["weights"] == [pytest.approx(own, rel=1e-5, abs=1e-5) for own in one["weights"]]
        assert several["detections"] == pytest.approx(one["detections"], rel=1e-5)


@pytest.mark.slow
def test_a_step_is_compiled_once_a_bucket():
    found = json.loads(output_of(str(HERE / "bucket_steps.py")).splitlines()[-1])
    assert found["sizes"] > 3 and found["steps"] > found["shapes"] == found["traces"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_the_cores_tests_pass_on_jax(part):
    selection = " and ".join(f"not {name}" for name in LEFT_OUT.split())
    if part == "detectors":
        selection = "detections_are_torchvision_s or test_gpu"
    files = [str(HERE / f"{name}.py") for name in PARTS[part].split()]
    output = output_of("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selection, *files)
    assert " passed" in output
