"""Preprocessing as a layer inside the model: from raw RGB to the input that the weights need."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from frcnn.errors import ConfigError

Tensor = Any

# Means and standard deviations of ImageNet's pixels, 0 to 255.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN = (123.675, 116.28, 103.53)
TORCH_DEVIATION = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="frcnn")
class Preprocess(layers.Layer):
    """Turn raw RGB, (B, H, W, 3) from 0 to 255, into the input that the weights were trained with.

    It is a layer, so that training, prediction and exported files all have the same preprocessing.

    Args:
        mode: ``caffe`` (BGR minus the mean), ``caffe_rgb`` (RGB minus the mean of BGR, as in
            keras-frcnn), ``torch`` (RGB minus the mean, divided by the standard deviation), ``tf`` (RGB
            from -1 to 1) or ``none`` (RGB from 0 to 1).

    Raises:
        ConfigError: an unknown mode.
    """

    MODES = ("caffe", "caffe_rgb", "torch", "tf", "none")

    def __init__(self, mode: str, dtype: Any = "float32", **kwargs: Any):
        if mode not in self.MODES:
            raise ConfigError(f"preprocessing is {mode!r}, not one of {', '.join(self.MODES)}")
        # Not the dtype of the policy, because bfloat16 would round the pixels.
        super().__init__(dtype=dtype, **kwargs)
        self.mode = mode

    def call(self, images: Tensor) -> Tensor:
        if self.mode == "caffe":
            return images[..., ::-1] - self._constant(CAFFE_MEAN_BGR)
        if self.mode == "caffe_rgb":
            return images - self._constant(CAFFE_MEAN_BGR)
        if self.mode == "torch":
            return (images - self._constant(TORCH_MEAN)) / self._constant(TORCH_DEVIATION)
        if self.mode == "tf":
            return images / 127.5 - 1.0
        return images / 255.0

    def _constant(self, values):
        return ops.convert_to_tensor(values, dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mode": self.mode}
