"""Measures the busy time of a GPU in our runs, with the profiler of Keras' backend, TensorFlow or JAX.

Both write an XSpace. It has planes, one per GPU; a plane has lines, one per stream; a line has events,
which are kernels and copies.
"""

import contextlib
import pathlib
import tempfile

from benchmark.protocol import busy_union
from frcnn.backend import IS_TENSORFLOW
from frcnn.errors import FrcnnError

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax

GPU_PLANE, STREAM = "/device:GPU:0", "Stream #"


class Gpu:
    """The first GPU, as a device for ``benchmark.protocol.serve``."""

    def __init__(self, name):
        self.name = name

    def peak_mb(self):
        """Return the peak memory of arrays on it, MiB; the backend may have reserved more."""
        if IS_TENSORFLOW:
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20

    def busy_seconds(self, run, times):
        """Return the seconds that it was busy in a run.

        Raises:
            FrcnnError: the profiler saw nothing.
        """
        found = spans(run, times)
        if not found:
            raise FrcnnError(f"the profiler saw nothing on {self.name}: may this user profile it?")
        return busy_union(found) / times


def find():
    """Return the ``Gpu`` that the backend computes on, or None."""
    if IS_TENSORFLOW:
        names = [
            tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
            for gpu in tf.config.get_visible_devices("GPU")
        ]
    else:
        names = [device.device_kind for device in jax.local_devices() if device.platform == "gpu"]
    return Gpu(names[0]) if names else None


def spans(run, times, plane=GPU_PLANE, line=STREAM):
    """Call ``run`` some times, and return the time spans of all events: [(start, end), ...] in seconds.

    Args:
        run: function without arguments.
        times: number of calls.
        plane, line: only planes and lines whose names begin with these count.
    """
    with tempfile.TemporaryDirectory() as folder:
        with _profile(folder):
            for _ in range(times):
                run()
        (file,) = pathlib.Path(folder).glob("**/*.xplane.pb")
        events = _tensorflow_events if IS_TENSORFLOW else _jax_events
        return list(events(file, plane, line))


@contextlib.contextmanager
def _profile(folder):
    """Profile into a folder, without calls of Python and with as few events of the host as possible."""
    if IS_TENSORFLOW:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=1, python_tracer_level=0)
        with tf.profiler.experimental.Profile(folder, options):
            yield
        return
    options = jax.profiler.ProfileOptions()
    options.host_tracer_level, options.python_tracer_level = 1, 0
    with jax.profiler.trace(folder, profiler_options=options):
        yield


def _tensorflow_events(file, plane_name, line_name):
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    for plane in XSpace.FromString(file.read_bytes()).planes:
        for line in plane.lines if plane.name.startswith(plane_name) else ():
            for event in line.events if line.name.startswith(line_name) else ():
                start = line.timestamp_ns * 1e-9 + event.offset_ps * 1e-12
                yield start, start + event.duration_ps * 1e-12


def _jax_events(file, plane_name, line_name):
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines if plane.name.startswith(plane_name) else ():
            for event in line.events if line.name.startswith(line_name) else ():
                yield event.start_ns * 1e-9, (event.start_ns + event.duration_ns) * 1e-9
