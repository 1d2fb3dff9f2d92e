"""A batch that is divided among all devices: JAX only.

Keras places a copy of each variable on each device and an equal part of each batch, and XLA adds up the
gradients. The losses are those of the whole batch. The devices are those of this process or, if several
processes have joined, of all of them: then each process has the rows of its own devices. TensorFlow has
a process per GPU instead, each with losses of its own (``frcnn.collectives``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from frcnn.backend.choice import IS_TENSORFLOW, Tensor

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax


@contextlib.contextmanager
def data_parallel() -> Iterator[None]:
    """Within this context, models are built on all devices of all processes, if JAX has several.

    Example:
        >>> with data_parallel():
        ...     model = FasterRCNN.from_config(config, num_classes=21)
        ...     # the images of a batch are divided evenly among num_devices() devices
    """
    if IS_TENSORFLOW or jax.device_count() == 1:
        yield
        return
    devices = [f"{device.platform}:{device.id}" for device in jax.devices()]
    with keras.distribution.DataParallel(devices=devices).scope():
        yield


@contextlib.contextmanager
def this_process_only() -> Iterator[None]:
    """Within this context, new Keras variables are on this process's devices only.

    For code that only the main process runs. In ``data_parallel`` all processes must make a variable
    together; otherwise JAX mixes up what they tell each other.
    """
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def num_devices() -> int:
    """Return the number of devices of this process that share each batch."""
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas // jax.process_count() if distribution else 1


def batch_placement() -> Callable[[np.ndarray], Tensor]:
    """Return a function that puts an array of a batch on the device. Other threads may call it.

    It takes the rows of this process. In ``data_parallel`` it puts an equal share of them on each
    device, and returns an array of the rows of all processes.
    """
    if IS_TENSORFLOW:
        return tf.convert_to_tensor  # a fifth of the time that keras.ops.convert_to_tensor takes
    distribution = keras.distribution.distribution()  # Keras keeps one per thread
    if distribution is None:
        return keras.ops.convert_to_tensor

    def divided(array):
        layout = distribution.get_data_layout(array.shape).backend_layout
        return jax.make_array_from_process_local_data(layout, array)

    return divided


def own_rows(array: Tensor) -> Tensor:
    """Return the rows of this process of an array that ``batch_placement`` or a step has made.

    Keras takes these, and makes the whole array of them again. Each device keeps its rows.
    """
    if IS_TENSORFLOW or not isinstance(array, jax.Array) or array.is_fully_addressable:
        return array
    parts = sorted(array.addressable_shards, key=lambda part: part.index[0].start or 0)
    if array.is_fully_replicated or len(parts) == 1:
        return parts[0].data
    return np.concatenate([np.asarray(part.data) for part in parts])


def on_all_devices(array: Tensor) -> Tensor:
    """Within a step: return an array of which each device has all rows, so that the host can read it."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return array
    mesh = distribution.device_mesh
    return keras.distribution.distribute_tensor(array, keras.distribution.TensorLayout([None], mesh))
