"""Compiled functions that are traced once, though the sizes of their arrays change from call to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from frcnn.backend.choice import IS_TENSORFLOW, Shape, Tensor
from frcnn.backend.kernels import portable_kernels

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
        function: a function with positional arguments, which may be nested or None.
        shapes_of: function from the list of all arrays in the arguments to their shapes, with None for
            sizes that change from call to call. It is called when ``function`` is traced.
        jit_compile: whether XLA compiles it, once for each set of shapes. Then no size may be None.
    """

    def __init__(
        self,
        function: Callable,
        shapes_of: Callable[[list[Tensor]], Sequence[Shape]],
        jit_compile: bool = False,
    ):
        self.function, self.shapes_of, self.jit_compile = function, shapes_of, jit_compile
        self.traced: dict[
            tuple, Callable
        ] = {}  # by the dtypes (None for None); with XLA by the shapes, too

    def __call__(self, *arguments: Any) -> Any:
        leaves = [
            None if leaf is None else tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(arguments)
        ]
        given = [leaf for leaf in leaves if leaf is not None]
        dtypes = tuple(None if leaf is None else leaf.dtype for leaf in leaves)
        key = dtypes, *(tuple(leaf.shape) for leaf in given if self.jit_compile)
        if key not in self.traced:
            self.traced[key] = self._traced(arguments, dtypes, self.shapes_of(given))
        return self.traced[key](*given)

    def _traced(self, arguments, dtypes, shapes):
        def on_given(*given):
            left = iter(given)
            packed = [None if dtype is None else next(left) for dtype in dtypes]
            return self.function(*tf.nest.pack_sequence_as(arguments, packed))

        present = [dtype for dtype in dtypes if dtype is not None]
        signature = [tf.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, present)]
        options = {"autograph": False, "jit_compile": self.jit_compile or None}
        compiled_function = tf.function(on_given, input_signature=signature, **options)
        # Of the only trace: calling it takes the host half as long as calling the function, which first
        # looks for the trace that fits.
        return compiled_function.get_concrete_function()


def on_batches(model: keras.Model, step: Callable, uses_xla: bool = False) -> Callable:
    """Compile a model's ``train_step``, ``test_step`` or ``predict_step`` for Keras' ``*_on_batch``.

    Args:
        model: functional ``keras.Model``.
        step: function of (x,) or (x, y, sample_weight).
        uses_xla: whether XLA compiles the step, once for each set of shapes, with operations of fixed
            shapes.
    """
    if uses_xla:

        def fixed(*batch):
            with portable_kernels():
                return step(*batch)

        compiled_step = OpenShapeFunction(fixed, lambda arrays: [own.shape for own in arrays], True)
        return lambda batches: compiled_step(next(iter(batches)))

    inputs = [tensor.shape for tensor in model.inputs]

    def shapes_of(arrays):
        return [*inputs, *(shape_of_target(*array.shape) for array in arrays[len(inputs) :])]

    def shape_of_target(*sizes):
        # The last axis of a target is fixed. Weights have only the batch axis, a flag has none.
        return (None,) * (len(sizes) - 1) + sizes[-1:] if sizes[1:] else (None,) * len(sizes)

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
