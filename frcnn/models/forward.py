"""A functional Keras model that is only run forward."""

from __future__ import annotations

from typing import Any

import keras

from frcnn.backend import IS_TENSORFLOW, on_batches


class Forward(keras.Model):
    """A functional model that is used only by ``predict_on_batch``.

    With TensorFlow it is traced once for all shapes (``frcnn.backend.on_batches``).
    """

    predict_function: Any

    def make_predict_function(self, force: bool = False) -> None:
        if not IS_TENSORFLOW:
            super().make_predict_function(force)
        elif force or self.predict_function is None:
            self.predict_function = on_batches(self, self.predict_step)
