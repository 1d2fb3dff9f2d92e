"""From raw RGB to what a backbone's weights were trained on, as a layer inside the model."""

import keras
from keras import layers, ops

from frcnn.errors import ConfigError

# mean (and deviation) of ImageNet, for RGB in 0..255.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN = (123.675, 116.28, 103.53)
TORCH_DEVIATION = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="frcnn")
class Preprocess(layers.Layer):
    """Turn raw RGB in 0..255 into what the weights were trained on; a layer, so that it never differs.

    Args:
        mode: ``caffe`` (BGR minus mean), ``caffe_rgb`` (RGB minus the same three numbers, which is
            what keras-frcnn made of it), ``torch`` (RGB minus mean, over deviation), ``tf`` (-1 to 1)
            or ``none`` (0 to 1).

    Raises:
        ConfigError: another mode.
    """

    MODES = ("caffe", "caffe_rgb", "torch", "tf", "none")

    def __init__(self, mode, dtype="float32", **kwargs):
        if mode not in self.MODES:
            raise ConfigError(f"preprocessing is {mode!r}, not one of {', '.join(self.MODES)}")
        # Not the policy's dtype: bfloat16 would round the pixels once the mean is off.
        super().__init__(dtype=dtype, **kwargs)
        self.mode = mode

    def call(self, images):
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

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}
