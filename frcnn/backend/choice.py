"""The backend that Keras runs on: TensorFlow (the default) or JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

IS_TENSORFLOW = keras.backend.backend() == "tensorflow"

if keras.backend.backend() not in ("tensorflow", "jax"):
    raise ImportError(
        f"frcnn runs on Keras' tensorflow and jax backends, not on {keras.backend.backend()}: "
        "set the environment variable KERAS_BACKEND"
    )

Tensor = Any  # a tensor of the backend
Shape = Sequence[int | None]  # None: a size that changes from call to call
