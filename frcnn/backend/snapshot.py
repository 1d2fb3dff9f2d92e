"""The values of Keras variables, kept so that a step can be undone."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from frcnn.backend.choice import IS_TENSORFLOW

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax.numpy as jnp


class Snapshot:
    """The current values of Keras variables, which can be restored later.

    TensorFlow copies nothing here: if a variable's old value is still held, the next update writes to
    new memory. JAX donates the old arrays to a step, so on JAX they are copied.

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
        """Assign the values to the variables again, bit for bit."""
        for variable, value in zip(self.variables, self.values):
            variable.assign(value)
