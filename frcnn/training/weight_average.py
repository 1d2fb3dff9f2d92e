"""An exponential moving average of the weights, which is validated and saved beside them.

Polyak & Juditsky 1992; its use in detectors goes back to Tan & Le 2020 (EfficientDet), section 5. The
average of many steps varies less than the weights of the last one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from frcnn.backend import compiled

Tensor = Any


class WeightAverage:
    """The average of variables over the steps so far, on the device.

    After step n, average = d * average + (1 - d) * value, with d = min(decay, (1 + n) / (10 + n)), so
    that the first weights, which are random in part, are soon forgotten.

    Args:
        variables: Keras variables whose values are averaged.
        decay: the largest d, below 1.

    Attributes:
        averages: Keras variables of the averages, in the order of ``variables``.
        count: Keras variable: how many steps are in the average.
        is_shown: whether the variables hold the averages, and the averages the trained values.

    Example:
        >>> average = WeightAverage(model.trainable_variables, decay=0.999)
        >>> average.update(applied)  # after each step
        >>> with average.shown():
        ...     model.predict_on_batch(images)  # with the averaged weights
    """

    def __init__(self, variables: Sequence[keras.Variable], decay: float):
        self.variables, self.decay = list(variables), decay
        self.averages = [
            keras.Variable(
                ops.copy(own.value), dtype=own.dtype, trainable=False, name=f"average_{number}"
            )
            for number, own in enumerate(self.variables)
        ]
        self.count = keras.Variable(0.0, dtype="float32", trainable=False, name="average_count")
        self.is_shown = False
        self._mixed = compiled(self._mix)

    def update(self, applied: Tensor) -> None:
        """Add the present values to the average.

        Args:
            applied: a number on the device: unless it is above 0, nothing changes. The host does not
                read it.
        """
        self._update(applied, self._mixed)

    def update_in_graph(self, applied: Tensor) -> None:
        """Do as ``update`` within a compiled step: with TensorFlow.

        A call of its own with hundreds of arrays takes the host longer than a small step.
        """
        self._update(applied, self._mix)

    def _update(self, applied, mix):
        values = [ops.convert_to_tensor(own) for own in self.variables]
        averages = [ops.convert_to_tensor(own) for own in self.averages]
        count, mixed = mix(ops.convert_to_tensor(self.count), applied, values, averages)
        self.count.assign(count)
        for average, value in zip(self.averages, mixed):
            average.assign(value)

    def _mix(self, count, applied, values, averages):
        is_applied = ops.cast(applied, "float32") > 0
        keep = ops.minimum(self.decay, (1.0 + count) / (10.0 + count))
        mixed = [
            ops.where(is_applied, keep * average + (1.0 - keep) * value, average)
            for value, average in zip(values, averages)
        ]
        return count + ops.where(is_applied, 1.0, 0.0), mixed

    def of(self, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
        """Return the averages of some of the variables."""
        by_id = {id(own): average for own, average in zip(self.variables, self.averages)}
        return [by_id[id(own)] for own in variables]

    @contextlib.contextmanager
    def shown(self, averaged: bool = True) -> Iterator[None]:
        """Within this context, the variables hold the averages; if not ``averaged``, their own values.

        Contexts may be nested. Afterwards all values are as before, bit for bit.
        """
        exchanges = averaged != self.is_shown
        if exchanges:
            self._exchange()
        try:
            yield
        finally:
            if exchanges:
                self._exchange()

    def _exchange(self):
        for variable, average in zip(self.variables, self.averages):
            value = ops.copy(variable.value)
            variable.assign(average.value)
            average.assign(value)
        self.is_shown = not self.is_shown
