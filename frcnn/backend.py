"""The few functions that ``keras.ops`` lacks, for Keras' TensorFlow and JAX backends.

TensorFlow is imported only if it is the backend, so that all model code runs where only JAX is
installed.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

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

Tensor = Any  # of the backend
Shape = Sequence[int | None]  # None: a size that changes from call to call

_portable = contextvars.ContextVar("portable kernels", default=False)


@contextlib.contextmanager
def portable_kernels() -> Iterator[None]:
    """Trace only operations that ONNX and LiteRT know, within this context (``frcnn.export``).

    Neither knows ``CropAndResize`` and ``CombinedNonMaxSuppression``.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def has_native_kernels() -> bool:
    """Return whether any kernel of TensorFlow may be used here."""
    return IS_TENSORFLOW and not _portable.get()


def compiled(function: Callable, shapes: Sequence[Shape] | None = None) -> Callable:
    """Compile a pure function on arrays, for use outside a Keras model.

    Args:
        function: of positional arguments.
        shapes: of the arguments, with None for sizes that change from call to call. Without ``shapes``,
            TensorFlow traces a second time when a size changes.
    """
    if not IS_TENSORFLOW:
        return jax.jit(function)  # compiles for each set of shapes
    if shapes is None:
        return tf.function(function, reduce_retracing=True)
    return OpenShapeFunction(function, lambda _: shapes)


class OpenShapeFunction:
    """A TensorFlow function that is traced once, with open shapes.

    By default TensorFlow traces the first call for its own sizes and the second call again with open
    sizes. That costs seconds. The two graphs are optimized differently and differ in their last bits, so
    an interrupted run would differ from an uninterrupted one.

    Args:
        function: of positional arguments, which may be nested; an argument may be None.
        shapes_of: function from the arrays among the arguments to their shapes, open sizes None.
    """

    def __init__(self, function: Callable, shapes_of: Callable[[list[Tensor]], Sequence[Shape]]):
        self.function, self.shapes_of = function, shapes_of
        self.traced: dict[tuple, Callable] = {}  # by the dtypes of the arguments; None for None

    def __call__(self, *arguments: Any) -> Any:
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
            packed = [None if dtype is None else next(left) for dtype in key]
            return self.function(*tf.nest.pack_sequence_as(arguments, packed))

        shapes = self.shapes_of(given)
        signature = [tf.TensorSpec(shape, leaf.dtype) for shape, leaf in zip(shapes, given)]
        return tf.function(on_given, input_signature=signature, autograph=False)


def forward(model: keras.Model) -> Callable[[Tensor], Tensor]:
    """Return a function from a Keras model's input to its output, both on the device.

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


def on_batches(model: keras.Model, step: Callable) -> Callable:
    """Compile a model's ``train_step`` or the like once, for Keras' ``..._on_batch`` methods.

    Args:
        model: functional ``keras.Model``.
        step: function of (x,) or (x, y, sample_weight).
    """

    inputs = [tensor.shape for tensor in model.inputs]

    def shapes_of(arrays):
        return [*inputs, *(shape_of_target(*array.shape) for array in arrays[len(inputs) :])]

    def shape_of_target(_, *sizes):
        # The last axis of a target is fixed. Weights have only the batch axis.
        return (None,) * len(sizes) + (sizes[-1:] or (None,))

    run = OpenShapeFunction(step, shapes_of)
    return lambda batches: run(next(iter(batches)))


class Snapshot:
    """The present values of Keras variables, to restore later.

    TensorFlow copies nothing here: a variable whose value is held gets new memory at its next change.
    JAX donates the old arrays to a step, so there they are copied.

    Args:
        variables: Keras variables.
    """

    def __init__(self, variables: Iterable[keras.Variable]):
        self.variables = list(variables)
        if IS_TENSORFLOW:
            self.values = [tf.convert_to_tensor(variable.value) for variable in self.variables]
        else:
            self.values = [jnp.copy(variable.value) for variable in self.variables]

    def restore(self) -> None:
        """Give the variables these values again, bit for bit."""
        for variable, value in zip(self.variables, self.values):
            variable.assign(value)


def computes_on_cpu() -> bool:
    """Return whether the backend is TensorFlow and sees no GPU."""
    return IS_TENSORFLOW and not tf.config.get_visible_devices("GPU")


def with_gradients(function: Callable) -> Callable:
    """Return a compiled function of two tensors that computes a third and the gradients of its sum.

    TensorFlow only.

    Args:
        function: of two tensors.
    """

    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = function(x, y)
        return result, tape.gradient(result, [x, y])

    return tf.function(run)


def native_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int) -> Tensor:
    """Run TensorFlow's greedy NMS on one image. Its kernels do not run under XLA.

    Args:
        boxes: (N, 4).
        scores: (N,). Boxes with a score of minus infinity are skipped.
        iou_threshold: a box that overlaps a kept one by more than this is dropped.
        max_output: the most boxes to keep.

    Returns:
        Up to ``max_output`` int32 indices, best first.
    """
    if not computes_on_cpu():
        return tf.image.non_max_suppression(boxes, scores, max_output, iou_threshold)
    # On a CPU this kernel is about four times as fast: it calls no function for each pair of boxes. But
    # it returns scores instead of indices, and takes equal scores in any order. So it gets ranks as
    # scores: N for the best box, 1 for the last.
    count = tf.size(scores)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    ranks = tf.cast(tf.range(count, 0, -1), tf.float32)
    ranks = tf.where(tf.gather(scores, order) > -float("inf"), ranks, 0.0)
    found = tf.image.combined_non_max_suppression(
        tf.gather(boxes, order)[None, :, None],
        ranks[None, :, None],
        max_output_size_per_class=max_output,
        max_total_size=max_output,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    ranks = found.nmsed_scores[0, : found.valid_detections[0]]
    return tf.gather(order, count - tf.cast(ranks, tf.int32))


def native_crop_and_resize(images: Tensor, boxes: Tensor, box_indices: Tensor, crop_size: int) -> Tensor:
    """Cut boxes out of images by TensorFlow's kernel, which does not run under XLA.

    Args:
        images: (B, H, W, C) float32.
        boxes: (N, 4) ``[y1, x1, y2, x2]`` in units of the image's last row and column. The first and the
            last samples lie on the box's edges.
        box_indices: (N,) int32, the image of each box.
        crop_size: samples along each side.

    Returns:
        (N, crop_size, crop_size, C) bilinear samples.
    """
    return tf.image.crop_and_resize(images, boxes, box_indices, (crop_size, crop_size))


def padded_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int) -> Tensor:
    """Run greedy NMS on one image by the TensorFlow operation that other formats have, too.

    Args:
        boxes, scores, iou_threshold, max_output: as of ``native_nms``.

    Returns:
        (max_output,) int32 indices, best first, -1 where fewer are kept.
    """
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_output,
        iou_threshold=iou_threshold,
        score_threshold=tf.float32.min,  # minus infinity is skipped
        pad_to_max_output_size=True,
    )
    return tf.where(tf.range(max_output) < count, kept, -1)


def map_images(function: Callable, arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Apply a function to the arrays of each image of a batch.

    Where kernels must be portable and the batch is of known size, there is no loop in the graph:
    converters do not know all loops, and runtimes are slow in them.

    Args:
        function: from a tuple of arrays of one image to a tuple of arrays.
        arrays: the first axis is that of the images.

    Returns:
        The results, stacked along a first axis.
    """
    count = arrays[0].shape[0]
    if not IS_TENSORFLOW or has_native_kernels() or count is None:
        return keras.ops.map(function, arrays)
    rows = [function(tuple(array[number] for array in arrays)) for number in range(count)]
    return tuple(tf.stack(column) for column in zip(*rows))


def sum_of_squares(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor's squared numbers, without an array of squares in memory."""
    if IS_TENSORFLOW:
        return 2.0 * tf.nn.l2_loss(tensor)
    return jnp.sum(jnp.square(tensor))  # XLA fuses this into one loop


def has_native_momentum(gradient: Tensor) -> bool:
    """Return whether ``native_momentum`` takes a gradient: a dense one, with TensorFlow."""
    return IS_TENSORFLOW and isinstance(gradient, tf.Tensor)


def native_momentum(
    variable: Any, velocity: Any, gradient: Tensor, learning_rate: Tensor, momentum: float
) -> None:
    """Do a step of SGD in one pass: velocity = momentum · velocity - rate · gradient is added.

    Args:
        variable, velocity: ``tf.Variable``s.
        gradient: tensor of their shape.
        learning_rate, momentum: scalars.
    """
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=velocity.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=gradient,
        momentum=tf.cast(momentum, variable.dtype),
    )


def prepare_device(deterministic: bool = False, local_rank: int | None = None) -> str:
    """Set up the device for training and return its description.

    A GPU is used if there is one. Its memory is taken as needed, so that other processes can share it.
    On a CPU the same seed always gives the same losses to the last bit.

    Args:
        deterministic: whether a GPU is to be as exact, with slower kernels. TensorFlow raises an error
            where it has no such kernel.
        local_rank: number of this process on this machine: only the GPU of this number is used.
    """
    if not IS_TENSORFLOW:
        return (
            ", ".join(f"{device.device_kind} ({device.platform})" for device in jax.devices()) + ", JAX"
        )
    # Training steps are traced once. The collectives' arrays have several dtypes and sizes: a trace for
    # each of the first few needs no warning.
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
    if deterministic or not gpus:
        # Otherwise threads add up gradients in any order; after some steps losses differ in two digits.
        tf.config.experimental.enable_op_determinism()
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return f"GPU: {', '.join(names)}" if gpus else "CPU: TensorFlow sees no GPU"
