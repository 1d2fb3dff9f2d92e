"""The few things that ``keras.ops`` lacks, for Keras' TensorFlow and JAX backends.

Nothing here imports TensorFlow unless it is the backend in use, so that all model code runs where
only JAX is installed.
"""

import keras

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"

if keras.backend.backend() not in ("tensorflow", "jax"):
    raise ImportError(
        f"frcnn runs on Keras' tensorflow and jax backends, not on {keras.backend.backend()}: "
        "set the environment variable KERAS_BACKEND"
    )

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax


def compiled(function):
    """Return a pure function on tensors as one compiled graph, for use outside a Keras model.

    TensorFlow traces it once or twice and keeps changing dimensions open; JAX compiles it for each
    set of shapes.
    """
    if IS_TENSORFLOW:
        return tf.function(function, reduce_retracing=True)
    return jax.jit(function)


def native_nms(boxes, scores, iou_threshold, max_output):
    """Return TensorFlow's greedy NMS of one image: up to ``max_output`` indices, int32.

    Its kernel has no XLA version, so models that use it must not be compiled by XLA.
    """
    return tf.image.non_max_suppression(boxes, scores, max_output, iou_threshold)


def native_crop_and_resize(images, boxes, box_indices, crop_size):
    """Return (N, crop_size, crop_size, C) bilinear samples of (B, H, W, C) float32 images.

    ``boxes`` (N, 4) are ``[y1, x1, y2, x2]`` in units of the image's last row and column: the first
    and last samples lie on the box's edges. Not for XLA either.
    """
    return tf.image.crop_and_resize(images, boxes, box_indices, (crop_size, crop_size))


def prepare_device():
    """Make ready the device that training will run on and return its description.

    A GPU is used where there is one; its memory is then taken as needed, not all at once, so that
    others can share it. On a CPU the same seed gives the same losses to the last bit; a GPU has no
    such kernel for crop_and_resize's gradient.
    """
    if not IS_TENSORFLOW:
        return (
            ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices()) + ", JAX"
        )
    # Images differ in shape, so each step is traced twice before its sizes are left open; that is no
    # reason to warn.
    tf.get_logger().setLevel("ERROR")
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        # Else threads add up gradients in any order; after some steps losses differ in two digits.
        tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU: {', '.join(names)}" if gpus else "CPU: TensorFlow sees no GPU"
