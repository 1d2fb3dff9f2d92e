"""Measures the host's work between the compiled calls of training steps: seconds, bytes, blocking reads.

It runs the trainer's own loop on batches that were made before. It watches TensorFlow's calls, so it
works with TensorFlow only. On a CPU a compiled call returns when it is done, so the time between two
calls is the host's part. It does not depend on the duration of the calls.
"""

import contextlib
import dataclasses
import io
import itertools
import pathlib
import time
import unittest.mock

import numpy as np
import tensorflow as tf
from keras.src import backend as keras_backend

from benchmark.pipeline import make_samples
from benchmark.worker import config_of, random_batch, with_measured_convolutions
from frcnn import backend
from frcnn.data.sample import Dataset
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.step_arrays import ToDevice
from frcnn.training.trainer import Trainer

WARM_UP = 3  # steps in which graphs are traced and the first scalars are logged


class EnoughSteps(Exception):
    """Ends the trainer's loop."""


@dataclasses.dataclass
class HostStep:
    """The measurements of one step.

    Attributes:
        seconds: time in which the host was not inside a compiled call.
        reads: how often the host waited for a number from the device.
        bytes_up, bytes_down: bytes of numpy arrays that became tensors, and of tensors that were read.
        calls: number of compiled calls.
    """

    seconds: float = 0.0
    reads: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    calls: int = 0


class Watch:
    """Watches TensorFlow within ``with``; ``begin_step`` begins the next ``HostStep`` of ``steps``."""

    def __init__(self):
        self.steps = []
        self.graphs = []  # of all compiled functions
        self._began = None
        self._now = HostStep()

    def begin_step(self):
        now = time.perf_counter()
        if self._began is not None:
            self._now.seconds += now - self._began
            self.steps.append(self._now)
        self._began, self._now = now, HostStep()

    def nodes(self):
        """Return the number of nodes in all graphs, with those of the functions that they call."""
        definitions = [graph.as_graph_def() for graph in self.graphs]
        inner = [function.node_def for one in definitions for function in one.library.function]
        return sum(len(one.node) for one in definitions) + sum(map(len, inner))

    @contextlib.contextmanager
    def watching(self):
        eager_base = next(own for own in type(tf.constant(0)).__mro__ if "_numpy" in vars(own))
        with (
            unittest.mock.patch.object(backend.OpenShapeFunction, "_traced", self._timed()),
            unittest.mock.patch.object(eager_base, "_numpy", self._counted_read(eager_base._numpy)),
            # numpy takes a tensor's memory without a call of its methods.
            unittest.mock.patch.object(keras_backend, "convert_to_numpy", self._counted_numpy()),
            unittest.mock.patch.object(tf, "convert_to_tensor", self._counted_write()),
        ):
            yield

    def _timed(self):
        original = backend.OpenShapeFunction._traced

        def traced(function, *arguments):
            compiled = original(function, *arguments)
            self.graphs.append(compiled.graph)

            def call(*given):
                start = time.perf_counter()
                result = compiled(*given)
                self._now.seconds -= time.perf_counter() - start
                self._now.calls += 1
                return result

            return call

        return traced

    def _counted_read(self, original):
        def read(tensor):
            array = original(tensor)
            self._now.reads += 1
            self._now.bytes_down += np.asarray(array).nbytes
            return array

        return read

    def _counted_numpy(self):
        original = keras_backend.convert_to_numpy

        def read(value):
            counted, array = self._now.reads, original(value)
            if tf.is_tensor(value) and self._now.reads == counted:
                self._now.reads += 1
                self._now.bytes_down += array.nbytes
            return array

        return read

    def _counted_write(self):
        original = tf.convert_to_tensor

        def write(value, *arguments, **options):
            self._now.bytes_up += value.nbytes if isinstance(value, np.ndarray) else 0
            return original(value, *arguments, **options)

        return write


def measure(spec, steps, folder):
    """Return the ``Watch`` of some steps after the warm-up, none of them logged, and a batch's bytes.

    Args:
        spec: specification of a step, as for ``benchmark.worker``.
        steps: number of steps to watch.
        folder: an empty folder, for a run.
    """
    quiet = {"train.log_every": 10**6, "checkpoint.every_minutes": 0, "train.steps_per_epoch": 10**6}
    config = with_measured_convolutions(config_of(spec).replace(quiet))
    models = FasterRCNN.from_config(config, spec["classes"] + 1, allow_random_frozen=True)
    names = tuple(str(number) for number in range(spec["classes"]))
    dataset = Dataset("noise", names, make_samples(folder, spec["batch"], classes=spec["classes"]))
    batch = dataclasses.replace(
        random_batch(models, config, spec), samples=dataset.samples, position=(0, 0)
    )
    # The loader's threads do this in a run, before the step.
    batch = dataclasses.replace(batch, on_device=ToDevice()(batch))
    run_dir = pathlib.Path(folder) / "run"
    run_dir.mkdir()
    watch = Watch()

    def batches(*_):
        for number in itertools.count():
            if number >= WARM_UP:
                watch.begin_step()
            if number == WARM_UP + steps:
                raise EnoughSteps
            yield batch

    text = io.StringIO()
    with watch.watching(), contextlib.redirect_stderr(text), contextlib.redirect_stdout(text):
        trainer = Trainer(models, config, dataset, dataset, run_dir)
        trainer.begin(None, False, {})
        trainer.batches.stream = batches
        with contextlib.suppress(EnoughSteps):
            trainer.fit()
    arrays = (*vars(batch).values(), *batch.targets)
    return watch, sum(own.nbytes for own in arrays if isinstance(own, np.ndarray))
