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
    import jax.numpy as jnp


def compiled(function, shapes=None):
    """Return a pure function on arrays as one compiled graph, for use outside a Keras model.

    Args:
        function: of positional arguments.
        shapes: of the arguments, with None for sizes that change from call to call. Without it
            TensorFlow finds out at the second call.
    """
    if not IS_TENSORFLOW:
        return jax.jit(function)  # compiles for each set of shapes
    if shapes is None:
        return tf.function(function, reduce_retracing=True)
    return OpenShapeFunction(function, lambda _: shapes)


class OpenShapeFunction:
    """A TensorFlow function that is traced once, the sizes that may change left open from the start.

    Else the first call would be traced for its own sizes and the second anew. That costs seconds; and
    as TensorFlow optimizes a graph by the sizes it knows, the two differ in their last bits, and so
    would a run that was interrupted.

    Args:
        function: of positional arguments, which may be nested; None may stand for an array.
        shapes_of: function from the arrays among the arguments to their shapes, open sizes None.
    """

    def __init__(self, function, shapes_of):
        self.function, self.shapes_of = function, shapes_of
        self.traced = {}  # by what the first call settles: kinds of numbers, and which are None

    def __call__(self, *arguments):
        leaves = [
            None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(arguments)
        ]
        given = [leaf for leaf in leaves if leaf is not None]
        key = tuple(None if leaf is None else leaf.dtype for leaf in leaves)
        if key not in self.traced:
            self.traced[key] = self._traced(arguments, key, given)
        return self.traced[key](*given)

    def _traced(self, arguments, key, given):
        def on_given(*given):
            left = iter(given)
            packed = [None if kind is None else next(left) for kind in key]
            return self.function(*tf.nest.pack_sequence_as(arguments, packed))

        shapes = self.shapes_of(given)
        signature = [tf.TensorSpec(shape, leaf.dtype) for shape, leaf in zip(shapes, given)]
        return tf.function(on_given, input_signature=signature, autograph=False)


def forward(model):
    """Return a function from a Keras model's input to its output that leaves both on the device.

    ``predict_on_batch`` would copy them to the host.
    """
    if IS_TENSORFLOW:
        shapes = [tensor.shape for tensor in model.inputs]
        return compiled(lambda x: model(x, training=False), shapes)
    run = jax.jit(lambda trained, other, x: model.stateless_call(trained, other, x, training=False)[0])

    def on_device(x):
        variables = model.trainable_variables, model.non_trainable_variables
        return run(*([variable.value for variable in group] for group in variables), x)

    return on_device


def on_batches(model, step):
    """Return what Keras' ``..._on_batch`` methods call, made of a model's ``train_step`` or the like.

    Args:
        model: functional ``keras.Model``.
        step: function of (x,) or (x, y, sample_weight).
    """

    inputs = [tensor.shape for tensor in model.inputs]

    def shapes_of(arrays):
        return [*inputs, *(shape_of_target(*array.shape) for array in arrays[len(inputs) :])]

    def shape_of_target(_, *sizes):
        # The last axis tells what the numbers mean; of weights there is but the batch's.
        return (None,) * len(sizes) + (sizes[-1:] or (None,))

    run = OpenShapeFunction(step, shapes_of)
    return lambda batches: run(next(iter(batches)))


class Snapshot:
    """The present values of Keras variables, to go back to.

    With TensorFlow nothing is copied here: a variable whose value is held gets new memory at its next
    change. JAX gives a step's old arrays away, so there they are copied.

    Args:
        variables: Keras variables.
    """

    def __init__(self, variables):
        self.variables = list(variables)
        if IS_TENSORFLOW:
            self.values = [tf.convert_to_tensor(variable.value) for variable in self.variables]
        else:
            self.values = [jnp.copy(variable.value) for variable in self.variables]

    def restore(self):
        """Give the variables these values again, bit for bit."""
        for variable, value in zip(self.variables, self.values):
            variable.assign(value)


def computes_on_cpu():
    """Return whether this is TensorFlow and sees no GPU."""
    return IS_TENSORFLOW and not tf.config.get_visible_devices("GPU")


def native_nms(boxes, scores, iou_threshold, max_output):
    """Return TensorFlow's greedy NMS of one image: up to ``max_output`` indices, int32.

    Boxes whose score is minus infinity are left out. Its kernels have no XLA version, so models that
    use them must not be compiled by XLA.
    """
    if not computes_on_cpu():
        return tf.image.non_max_suppression(boxes, scores, max_output, iou_threshold)
    # On a CPU this kernel is about four times as fast, which calls no function for a pair of boxes. It
    # tells scores, not indices, and takes equals in any order: so it is given places as scores.
    count = tf.size(scores)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    places = tf.cast(tf.range(count, 0, -1), tf.float32)  # count for the best, 1 for the last
    places = tf.where(tf.gather(scores, order) > -float("inf"), places, 0.0)
    found = tf.image.combined_non_max_suppression(
        tf.gather(boxes, order)[None, :, None],
        places[None, :, None],
        max_output_size_per_class=max_output,
        max_total_size=max_output,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    places = found.nmsed_scores[0, : found.valid_detections[0]]
    return tf.gather(order, count - tf.cast(places, tf.int32))


def native_crop_and_resize(images, boxes, box_indices, crop_size):
    """Return (N, crop_size, crop_size, C) bilinear samples of (B, H, W, C) float32 images.

    ``boxes`` (N, 4) are ``[y1, x1, y2, x2]`` in units of the image's last row and column: the first
    and last samples lie on the box's edges. Not for XLA either.
    """
    return tf.image.crop_and_resize(images, boxes, box_indices, (crop_size, crop_size))


def sum_of_squares(tensor):
    """Return the sum of the squares of a tensor's numbers, without an array of squares in between."""
    if IS_TENSORFLOW:
        return 2.0 * tf.nn.l2_loss(tensor)
    return jnp.sum(jnp.square(tensor))  # which XLA makes one loop


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


# The tf.distribute strategy of ``frcnn.distributed.process_group``; None: this process trains alone.
_strategy = None


def use_strategy(strategy):
    """Have ``all_reduce_sum`` and ``all_gather`` reach the workers of a strategy.

    Models and optimizers are made and run as in one process, outside the strategy's scope: all that
    workers tell each other goes through these two functions.

    Args:
        strategy: ``tf.distribute.MultiWorkerMirroredStrategy`` with one replica a worker.
    """
    global _strategy
    _strategy = strategy


def num_processes():
    """Return how many processes train together."""
    return _strategy.num_replicas_in_sync if _strategy else 1


def all_reduce_sum(tensors):
    """Return the sums over all workers of a list of tensors; None in it stays None.

    All workers must come here, in the same order and with the same shapes: so not inside a branch that
    only some of them take. Inside a compiled step or outside.
    """
    tensors = list(tensors)
    if num_processes() == 1:
        return tensors
    there = [tensor for tensor in tensors if tensor is not None]
    if tf.executing_eagerly():
        whole = iter(_sum([tf.convert_to_tensor(tensor) for tensor in there]))
    else:
        whole = iter(_summed(there))
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


def all_gather(array):
    """Return a numpy array, its first axis all workers' one after the other; the others are alike.

    float32, int32 or int64. Not inside a compiled step.
    """
    if num_processes() == 1:
        return array
    return _gather(tf.convert_to_tensor(array)).numpy()


def _gathered(tensor):
    def on_replica():
        return tf.distribute.get_replica_context().all_gather(tf.identity(tensor), axis=0)

    return _strategy.run(on_replica)


if IS_TENSORFLOW:
    _sum = tf.function(_summed, reduce_retracing=True)
    _gather = tf.function(_gathered, reduce_retracing=True)


def prepare_device(deterministic=False, local_rank=None):
    """Make ready the device that training will run on and return its description.

    A GPU is used where there is one; its memory is then taken as needed, not all at once, so that
    others can share it. On a CPU the same seed gives the same losses to the last bit.

    Args:
        deterministic: so it shall be on a GPU, too, with slower kernels; TensorFlow raises an error
            where it has none.
        local_rank: of several workers on this machine: only the GPU of this number is used.
    """
    if not IS_TENSORFLOW:
        return (
            ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices()) + ", JAX"
        )
    # Steps are traced once. What workers gather is of several kinds and sizes, and a trace for each of
    # the first few is no reason to warn.
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
    if deterministic or not gpus:
        # Else threads add up gradients in any order; after some steps losses differ in two digits.
        tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU: {', '.join(names)}" if gpus else "CPU: TensorFlow sees no GPU"
