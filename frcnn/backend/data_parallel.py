"""One process that trains on all its devices: JAX only.

Keras places a copy of each variable on each device and an equal part of each batch, and XLA adds up the
gradients. The losses are those of the whole batch. TensorFlow has a process per GPU instead
(``frcnn.distributed.process_group``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from frcnn.backend.choice import IS_TENSORFLOW, Tensor

if not IS_TENSORFLOW:
    import jax


@contextlib.contextmanager
def data_parallel() -> Iterator[None]:
    """Within this context, models are built on all devices of this process, if JAX has several.

    Example:
        >>> with data_parallel():
        ...     model = FasterRCNN.from_config(config, num_classes=21)
        ...     # the images of a batch are divided evenly among num_devices() devices
    """
    if IS_TENSORFLOW or jax.local_device_count() == 1:
        yield
        return
    before = keras.distribution.distribution()
    devices = [f"{device.platform}:{device.id}" for device in jax.local_devices()]
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def num_devices() -> int:
    """Return the number of devices of this process that share each batch."""
    distribution = keras.distribution.distribution()
    return distribution.num_model_replicas if distribution else 1


def batch_to_device(array: Tensor) -> Tensor:
    """Return an array on the device; in ``data_parallel``, an equal share of its rows on each device."""
    distribution = keras.distribution.distribution()
    if distribution is None:
        return keras.ops.convert_to_tensor(array)
    return keras.distribution.distribute_tensor(array, distribution.get_data_layout(array.shape))
