"""Undo a training step: keep the values of Keras variables, and restore them."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from frcnn.backend.choice import IS_TENSORFLOW, Tensor

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax
    import jax.numpy as jnp


class Undo:
    """Restores earlier values of variables, depending on a flag that stays on the device.

    With TensorFlow no values are copied: a variable whose value is in use elsewhere gets new memory at
    its next change. JAX reuses the memory of the old arrays in a step, so there the values are copied.

    Args:
        variables: Keras variables.

    Example:
        >>> undo = Undo(model.trainable_variables)
        >>> undo.keep()
        >>> ...  # a step
        >>> undo.restore_unless(applied)  # a number on the device
    """

    def __init__(self, variables: Iterable[keras.Variable]):
        self.variables = list(variables)
        if IS_TENSORFLOW:
            # The values are kept in a staging area, because a function with hundreds of arguments takes
            # milliseconds to call.
            self._area = {
                "dtypes": [own.dtype for own in self.variables],
                "shared_name": f"undo{id(self)}",
            }
            self._keep = tf.function(self.keep_in_graph, autograph=False)
            self._restore = tf.function(self.restore_in_graph, autograph=False)
        else:
            self._keep = jax.jit(lambda values: [jnp.copy(value) for value in values])
            self._restore = jax.jit(
                lambda flag, *groups: [jnp.where(flag > 0, now, old) for now, old in zip(*groups)]
            )

    def keep(self) -> None:
        """Keep the current values."""
        if self.variables and IS_TENSORFLOW:
            self._keep()
        elif self.variables:
            self.values = self._keep(self._present())

    def restore_unless(self, flag: Tensor) -> None:
        """Set the variables to the kept values, bit for bit, unless ``flag`` is above 0."""
        if self.variables and IS_TENSORFLOW:
            self._restore(flag)
        elif self.variables:
            for variable, value in zip(
                self.variables, self._restore(flag, self._present(), self.values)
            ):
                variable.assign(value)

    def _present(self):
        return [variable.value for variable in self.variables]

    def keep_in_graph(self) -> None:
        """Do as ``keep`` within a compiled step: with TensorFlow, without XLA, for some variables."""
        tf.raw_ops.StageClear(**self._area)  # values of a step that ended with an error
        values = [tf.convert_to_tensor(value) for value in self._present()]
        tf.raw_ops.Stage(values=values, shared_name=self._area["shared_name"])

    def restore_in_graph(self, flag: Tensor) -> None:
        """Do as ``restore_unless`` within a compiled step."""
        values = tf.raw_ops.Unstage(**self._area)

        def restore():
            for variable, value in zip(self.variables, values):
                variable.value.assign(tf.ensure_shape(value, variable.shape))

        tf.cond(flag > 0, lambda: None, restore)
