"""A profile tells when something ran; on a machine without a GPU, on the processor."""

import time

import numpy as np
import pytest
from benchmark import gpu
from benchmark.protocol import busy_union

from frcnn.backend import IS_TENSORFLOW, compiled


@pytest.fixture
def product():
    """Return a function that multiplies matrices on the device and waits for the result."""
    matrix = np.random.default_rng(0).normal(size=(700, 700)).astype("float32")
    multiply = compiled(lambda x: x @ x)

    def run():
        np.asarray(multiply(matrix))

    run()
    return run


def test_spans_lie_within_the_run_and_grow_with_it(product):
    def busy(times):
        start = time.perf_counter()
        found = gpu.spans(product, times, plane="/host:CPU", line="")
        wall = time.perf_counter() - start
        assert found and all(end >= start for start, end in found)
        seconds = busy_union(found)
        assert 0.0 < seconds < wall
        return seconds

    assert busy(1) < busy(60)


def test_only_planes_and_lines_that_were_asked_for_count(product):
    assert gpu.spans(product, 1, plane="/host:CPU", line="no such line") == []
    assert gpu.spans(product, 1, plane="/device:TPU") == []


def test_a_gpu_is_found_where_the_backend_has_one():
    if IS_TENSORFLOW:
        import tensorflow as tf

        there = bool(tf.config.list_physical_devices("GPU"))
    else:
        import jax

        there = jax.default_backend() == "gpu"
    found = gpu.find()
    assert (found is not None) == there
    if there:
        seconds = found.busy_seconds(lambda: np.asarray(compiled(lambda x: x @ x)(np.eye(512))), 3)
        assert found.name and found.peak_mb() > 0 and seconds > 0
