"""The few things that ``keras.ops`` lacks, for Keras' TensorFlow and JAX backends.

Nothing here imports TensorFlow unless it is the backend in use, so that all model code runs where
only JAX is installed.
"""

import contextlib

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


def forward(model):
    """Return a function from a Keras model's input to its output that leaves both on the device.

    ``predict_on_batch`` would copy them to the host.
    """
    if IS_TENSORFLOW:
        return tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    run = jax.jit(lambda trained, other, x: model.stateless_call(trained, other, x, training=False)[0])

    def on_device(x):
        variables = model.trainable_variables, model.non_trainable_variables
        return run(*([variable.value for variable in group] for group in variables), x)

    return on_device


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


def has_native_momentum(gradient):
    """Return whether ``native_momentum`` takes a gradient: a dense one, with TensorFlow."""
    return IS_TENSORFLOW and isinstance(gradient, tf.Tensor)


def native_momentum(variable, velocity, gradient, learning_rate, momentum):
    """Do a step of SGD in one pass: velocity = momentum · velocity - rate · gradient is added.

    Args:
        variable, velocity: ``tf.Variable``s.
        gradient: tensor.
    """
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=velocity.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=gradient,
        momentum=tf.cast(momentum, variable.dtype),
    )


# The tf.distribute strategy that joins several workers (frcnn.workers); None: this process is alone.
_strategy = None


def use_workers(strategy):
    """Have ``sum_over_workers`` and ``gather_over_workers`` reach the workers of a strategy.

    Models and optimizers are made and run as in one process, outside the strategy's scope: all that
    workers tell each other goes through these two functions.

    Args:
        strategy: ``tf.distribute.MultiWorkerMirroredStrategy`` with one replica a worker.
    """
    global _strategy
    _strategy = strategy


def num_workers():
    """Return how many processes train together."""
    return _strategy.num_replicas_in_sync if _strategy else 1


def sum_over_workers(tensors):
    """Return the sums over all workers of a list of tensors; None in it stays None.

    All workers must come here, in the same order and with the same shapes: so not inside a branch that
    only some of them take. Inside a compiled step or outside.
    """
    tensors = list(tensors)
    if num_workers() == 1:
        return tensors
    there = [tensor for tensor in tensors if tensor is not None]
    whole = iter(_sum(there) if tf.executing_eagerly() else _summed(there))
    return [None if tensor is None else next(whole) for tensor in tensors]


def _summed(tensors):
    def on_replica():
        # The copies are there as the strategy has to see which device they are on.
        parts = [tf.stop_gradient(tf.identity(tensor)) for tensor in tensors]
        options = tf.distribute.experimental.CommunicationOptions(bytes_per_pack=PACK_BYTES)
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.SUM, parts, options)

    return _strategy.run(on_replica)


# Gradients travel in packs of this size, so that the first are on their way while the last are still
# being computed.
PACK_BYTES = 32 * 2**20


def gather_over_workers(array):
    """Return a numpy array, its first axis all workers' one after the other; the others are alike.

    float32, int32 or int64. Not inside a compiled step.
    """
    if num_workers() == 1:
        return array
    return _gather(tf.convert_to_tensor(array)).numpy()


def _gathered(tensor):
    def on_replica():
        return tf.distribute.get_replica_context().all_gather(tf.identity(tensor), axis=0)

    return _strategy.run(on_replica)


if IS_TENSORFLOW:
    _sum = tf.function(_summed, reduce_retracing=True)
    _gather = tf.function(_gathered, reduce_retracing=True)


def prepare_device(local_rank=None):
    """Make ready the device that training will run on and return its description.

    A GPU is used where there is one; its memory is then taken as needed, not all at once, so that
    others can share it. On a CPU the same seed gives the same losses to the last bit; a GPU has no
    such kernel for crop_and_resize's gradient.

    Args:
        local_rank: of several workers on this machine: the GPU of this number alone is used.
    """
    if not IS_TENSORFLOW:
        return (
            ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices()) + ", JAX"
        )
    # Images differ in shape, so each step is traced twice before its sizes are left open; that is no
    # reason to warn.
    tf.get_logger().setLevel("ERROR")
    gpus = tf.config.list_physical_devices("GPU")
    if local_rank is not None and len(gpus) > 1:
        gpus = gpus[local_rank % len(gpus) :][:1]
        tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        # One convolution after the other, each on all cores, is faster than two at a time. Once
        # TensorFlow has run something, it cannot be told any more.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_inter_op_parallelism_threads(1)
        # Else threads add up gradients in any order; after some steps losses differ in two digits.
        tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU: {', '.join(names)}" if gpus else "CPU: TensorFlow sees no GPU"
