"""Compiled functions that are traced once, though the sizes of their arrays change from call to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from frcnn.backend.choice import IS_TENSORFLOW, Shape, Tensor

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax


def compiled(function: Callable, shapes: Sequence[Shape] | None = None) -> Callable:
    """Compile a pure function on arrays, for use outside a Keras model.

    Args:
        function: a function with positional arguments.
        shapes: shapes of the arguments, with None for sizes that change from call to call. If it is not
            given, TensorFlow traces the function again when a size changes.
    """
    if not IS_TENSORFLOW:
        return jax.jit(function)  # compiles for each set of shapes
    if shapes is None:
        return tf.function(function, reduce_retracing=True)
    return OpenShapeFunction(function, lambda _: shapes)


class OpenShapeFunction:
    """A TensorFlow function that is traced once, with open shapes: sizes that are not fixed.

    By default TensorFlow traces the first call for its sizes, and traces again with open sizes when
    another size comes. This takes seconds. The two graphs are optimized differently, and their results
    differ in the last bits, so a resumed run would differ from an uninterrupted one.

    Args:
        function: it takes positional arguments, which may be nested; an argument may be None.
        shapes_of: function from the arrays among the arguments to their shapes; None: open size.
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
    """Return a function from a Keras model's input to its output that keeps both on the device.

    (``predict_on_batch`` copies the output to the host.)
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
    """Compile a model's ``train_step``, ``test_step`` or ``predict_step`` for Keras' ``*_on_batch``.

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


def with_gradients(function: Callable) -> Callable:
    """Compile a function of two tensors together with its gradients. TensorFlow only.

    Args:
        function: function from two tensors to one.

    Returns:
        Function from two tensors to the result and the gradients of the result's sum.
    """

    def run(x, y):
        with tf.GradientTape() as tape:
            tape.watch([x, y])
            result = function(x, y)
        return result, tape.gradient(result, [x, y])

    return tf.function(run)
