"""The shared convolutional layers, and what of a network's end each brings for the head.

Letters: B images, h and w feature map, K channels. Everything but ``tiny`` comes from
``keras.applications``, without weights: ``frcnn.weights`` fills them, so that it can say what was
filled.

Decided here: with pretrained weights the first two stages are frozen, as Fast R-CNN found enough
(Girshick 2015, section 4.5), and so is every batch normalization, whose statistics a batch of one
or two images would ruin.
"""

import dataclasses
from collections.abc import Callable

import keras
from keras import layers, ops

# mean (and deviation) of ImageNet, for RGB in 0..255.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCH_MEAN = (123.675, 116.28, 103.53)
TORCH_DEVIATION = (58.395, 57.12, 57.375)


@keras.saving.register_keras_serializable(package="frcnn")
class Preprocess(layers.Layer):
    """Turn raw RGB in 0..255 into what the weights were trained on; a layer, so that it never differs.

    Args:
        mode: ``caffe`` (BGR minus mean), ``torch`` (RGB minus mean, over deviation), ``tf``
            (-1 to 1) or ``none`` (0 to 1).
    """

    def __init__(self, mode, dtype="float32", **kwargs):
        # Not the policy's dtype: bfloat16 would round the pixels once the mean is off.
        super().__init__(dtype=dtype, **kwargs)
        self.mode = mode

    def call(self, images):
        if self.mode == "caffe":
            return images[..., ::-1] - self._constant(CAFFE_MEAN_BGR)
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


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What a backbone hands on.

    Attributes:
        features: (B, h, w, K) Keras tensor.
        stride: pixels of the network input a feature cell.
        tail: the network's last stage, to be applied to pooled RoIs, (N, P, P, K) to (N, p, p, k);
            None where the head is dense layers.
        pool_size: P that the tail wants; None where any will do.
    """

    features: keras.KerasTensor
    stride: int
    tail: keras.Model | None = None
    pool_size: int | None = None


def vgg16(images, frozen):
    """Simonyan and Zisserman 2015 up to block5_conv3: stride 16, 512 channels."""
    network = keras.applications.VGG16(include_top=False, weights=None, input_tensor=images)
    _freeze_until(network, "block2_pool", frozen)
    return Backbone(network.get_layer("block5_conv3").output, stride=16)


def resnet50(images, frozen):
    """He et al. 2016 as "C4": up to conv4 shared, stride 16, 1024 channels; conv5 in the head."""
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=images)
    _freeze_until(network, "conv2_block3_out", frozen)
    _freeze_batch_norm(network, frozen)
    shared = network.get_layer("conv4_block6_out").output
    return Backbone(shared, 16, keras.Model(shared, network.output, name="conv5"), pool_size=14)


def mobilenet_v2(images, frozen):
    """Sandler et al. 2018 up to the widening of block 13: stride 16; the rest in the head."""
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=images)
    _freeze_until(network, "block_2_add", frozen)
    _freeze_batch_norm(network, frozen)
    shared = network.get_layer("block_13_expand_relu").output
    return Backbone(
        shared, 16, keras.Model(shared, network.output, name="blocks_13_to_16"), pool_size=14
    )


def tiny(images, frozen):
    """A small network that trains from nothing on a CPU: stride 8, 128 channels, nothing frozen."""
    x = images
    for number, (filters, strides) in enumerate(
        [(24, 2), (48, 2), (96, 1), (128, 2), (128, 1)], start=1
    ):
        x = layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"tiny_conv{number}",
        )(x)
    return Backbone(x, stride=8)


@dataclasses.dataclass(frozen=True)
class BackboneKind:
    """How to build a backbone, and what its ``keras.applications`` weights were trained on."""

    build: Callable
    preprocessing: str


BACKBONES = {
    "vgg16": BackboneKind(vgg16, "caffe"),
    "resnet50": BackboneKind(resnet50, "caffe"),
    "mobilenet_v2": BackboneKind(mobilenet_v2, "tf"),
    "tiny": BackboneKind(tiny, "tf"),
}


def _freeze_until(network, last, frozen):
    """Freeze the layers up to the one named ``last``."""
    names = [layer.name for layer in network.layers]
    for layer in network.layers[: names.index(last) + 1]:
        layer.trainable = not frozen


def _freeze_batch_norm(network, frozen):
    for layer in network.layers:
        if frozen and isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
