"""The device that training runs on."""

from __future__ import annotations

import contextlib

from frcnn.backend.choice import IS_TENSORFLOW

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax


_gathers_rois = False


def gathers_rois() -> bool:
    """Return whether RoIAlign must gather.

    On a GPU ``crop_and_resize`` has no deterministic gradient.
    """
    return _gathers_rois


def computes_on_cpu() -> bool:
    """Return whether the backend is TensorFlow and sees no GPU."""
    return IS_TENSORFLOW and not tf.config.get_visible_devices("GPU")


def on_cpu() -> contextlib.AbstractContextManager:
    """Return a context in which arrays are made on the CPU of this process's machine."""
    if IS_TENSORFLOW:
        return tf.device("cpu:0")
    # Not keras.device("cpu:0"): with several processes that is the CPU of the first one.
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def prepare_device(deterministic: bool = False, local_rank: int | None = None) -> str:
    """Set up the device for training and return its description.

    A GPU is used if there is one. Its memory is allocated as needed, so that other processes can share
    it. On a CPU the same seed always gives the same losses to the last bit.

    Args:
        deterministic: whether a GPU must also give the same losses to the last bit, with slower kernels.
            TensorFlow raises an error for operations without a deterministic kernel. RoIAlign then
            gathers its samples.
        local_rank: number of this process on this machine. Only the GPU of this number is used.
    """
    global _gathers_rois
    if not IS_TENSORFLOW:
        return (
            ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices()) + ", JAX"
        )
    # TensorFlow warns of repeated tracing. Training steps are traced once; the collectives are traced
    # once for each of a few dtypes and sizes, which is intended.
    tf.get_logger().setLevel("ERROR")
    gpus = tf.config.list_physical_devices("GPU")
    if local_rank is not None and len(gpus) > 1:
        gpus = gpus[local_rank % len(gpus) :][:1]
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        # One convolution at a time, on all cores, is faster than two at a time. TensorFlow refuses to
        # change this after it has run something.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_inter_op_parallelism_threads(1)
    _gathers_rois = deterministic and bool(gpus)
    if deterministic or not gpus:
        # Otherwise threads add up gradients in any order, and losses soon differ between equal runs.
        tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU: {', '.join(names)}" if gpus else "CPU: TensorFlow sees no GPU"
