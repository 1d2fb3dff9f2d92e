"""The backbones by name: the convolutional layers that the RPN and the classifier share.

``resnet50`` and ``mobilenet_v2`` are networks of ``keras.applications``, and ``vgg16`` is built like the
one there. The pyramids (``..._fpn``) are built on ``models.resnet``, ``models.mobilenet_v3``, Keras'
MobileNetV2, and the networks of ``models.keras_applications``. All are built with random weights;
``frcnn.weights.initial`` loads the pretrained ones and reports what it loaded.

With pretrained weights the first stages are frozen (Girshick 2015, section 4.5, shows that the later
ones are enough), and so is batch normalization, because the statistics of one or two images are too
noisy. Without pretrained weights, all layers are trained.

Each function takes the preprocessed pixels (B, H, W, 3), a Keras tensor, and the ``ModelConfig``, and
returns a ``Backbone``.

B: images, H x W: pixels, h x w: feature map, K: channels, N: RoIs, P: pool size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from frcnn.config.schema import ModelConfig
from frcnn.layers import conv
from frcnn.models import fpn, freezing, heads, keras_applications, mobilenet_v3, resnet

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Backbone:
    """The feature levels of a backbone, and what the heads on it need.

    Attributes:
        features: Keras tensors (B, h, w, K) of the levels that the RPN works on, the finest first.
        strides: pixels of the network input per feature cell, for each level.
        roi_levels: RoIs are pooled from this number of levels, counted from the finest.
        size_multiple: image sides must be multiples of this, pixels.
        head: function of pooled RoIs, (N, P, P, K) to (N, k); None: dense layers.
        pool_size: P that the head needs; None: any.
        rpn_depth: number of 3x3 convolutions in the RPN.
    """

    features: tuple[Tensor, ...]
    strides: tuple[int, ...]
    roi_levels: int = 1
    size_multiple: int = 16
    head: Callable[[Tensor], Tensor] | None = None
    pool_size: int | None = None
    rpn_depth: int = 1


def vgg16(pixels: Tensor, config: ModelConfig) -> Backbone:
    """VGG16 up to block5_conv3: stride 16, 512 channels. Simonyan and Zisserman 2015."""
    x, ends = pixels, []
    for block, (channels, count) in enumerate(VGG16_BLOCKS, start=1):
        if block > 1:
            x = layers.MaxPooling2D(2, name=f"block{block - 1}_pool")(x)
        for number in range(1, count + 1):
            name = f"block{block}_conv{number}"
            x = conv.Conv2D(channels, 3, padding="same", activation="relu", name=name)(x)
        ends.append(name)
    _freeze(keras.Model(pixels, x), config, ends)
    return Backbone((x,), (16,))


def resnet50(pixels: Tensor, config: ModelConfig) -> Backbone:
    """ResNet-50 "C4" (He et al. 2016): up to conv4, stride 16, 1024 channels; conv5 is the head."""
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=pixels)
    ends = ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    _freeze(network, config, ends)
    return _split(network, "conv4_block6_out", "conv5")


def mobilenet_v2(pixels: Tensor, config: ModelConfig) -> Backbone:
    """MobileNetV2 (Sandler et al. 2018), shared up to the expansion of block 13: stride 16.

    The rest of the network is the head.
    """
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=pixels)
    _freeze(network, config, MOBILENET_V2_STAGES)
    return _split(network, "block_13_expand_relu", "blocks_13_to_16")


def mobilenet_v2_fpn(pixels: Tensor, config: ModelConfig) -> Backbone:
    """MobileNetV2 with a feature pyramid: strides 4 to 32, and 64 for the RPN only."""
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=pixels)
    _freeze(network, config, MOBILENET_V2_STAGES)
    ends = ("block_2_add", "block_5_add", "block_12_add", "out_relu")
    return _pyramid([network.get_layer(name).output for name in ends], (4, 8, 16, 32), config)


def resnet50_fpn(pixels: Tensor, config: ModelConfig, depth: int = 50) -> Backbone:
    """ResNet with a feature pyramid (Lin et al. 2017): strides 4 to 32, and 64 for the RPN only."""
    stages = resnet.resnet(pixels, depth, *_freezing(config, resnet.NUM_STAGES), _is_keras(config))
    return _pyramid(stages, resnet.STRIDES, config)


def resnet101_fpn(pixels: Tensor, config: ModelConfig) -> Backbone:
    """``resnet50_fpn`` with ResNet-101."""
    return resnet50_fpn(pixels, config, depth=101)


def resnet50_fpn_v2(pixels: Tensor, config: ModelConfig) -> Backbone:
    """``resnet50_fpn`` with batch normalization in the pyramid and in the head. Li et al. 2021."""
    stages = resnet.resnet(pixels, 50, *_freezing(config, resnet.NUM_STAGES), _is_keras(config))

    def head(x):
        return heads.convolutional_head(x, width=config.head_width, frozen_batch_norm=False)

    return _pyramid(stages, resnet.STRIDES, config, batch_norm=True, head=head, rpn_depth=2)


def mobilenet_v3_large_fpn(pixels: Tensor, config: ModelConfig) -> Backbone:
    """MobileNetV3 (Howard et al. 2019) with a pyramid: strides 32 and 32, and 64 for the RPN only."""
    settings = _freezing(config, mobilenet_v3.NUM_STAGES)
    stages = mobilenet_v3.mobilenet_v3_large(pixels, *settings, _is_keras(config))
    return _pyramid(stages, mobilenet_v3.STRIDES, config)


def of_application(name: str) -> Callable[[Tensor, ModelConfig], Backbone]:
    """Return the function that builds a pyramid on a network of ``keras_applications.APPLICATIONS``."""

    def build(pixels: Tensor, config: ModelConfig) -> Backbone:
        application = keras_applications.APPLICATIONS[name]
        network, levels = application.network(pixels)
        _freeze(network, config, application.stages)
        return _pyramid(levels, (4, 8, 16, 32), config)

    return build


def tiny(pixels: Tensor, config: ModelConfig) -> Backbone:
    """A small network that trains from random weights on a CPU: stride 8, 128 channels, none frozen."""
    x = pixels
    for number, (filters, strides) in enumerate(
        [(24, 2), (48, 2), (96, 1), (128, 2), (128, 1)], start=1
    ):
        x = conv.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"tiny_conv{number}",
        )(x)
    return Backbone((x,), (8,), size_multiple=8)


@dataclasses.dataclass(frozen=True)
class BackboneKind:
    """How to build a backbone, and the preprocessing of its published weights.

    Attributes:
        build: from preprocessed pixels (B, H, W, 3) and ``ModelConfig`` to ``Backbone``.
        preprocessing: one of ``frcnn.layers.preprocess.Preprocess.MODES``.
    """

    build: Callable[[Tensor, ModelConfig], Backbone]
    preprocessing: str


BACKBONES = {
    "vgg16": BackboneKind(vgg16, "caffe"),
    "resnet50": BackboneKind(resnet50, "caffe"),
    "mobilenet_v2": BackboneKind(mobilenet_v2, "tf"),
    "mobilenet_v2_fpn": BackboneKind(mobilenet_v2_fpn, "tf"),
    "resnet50_fpn": BackboneKind(resnet50_fpn, "torch"),
    "resnet101_fpn": BackboneKind(resnet101_fpn, "torch"),
    "resnet50_fpn_v2": BackboneKind(resnet50_fpn_v2, "torch"),
    "mobilenet_v3_large_fpn": BackboneKind(mobilenet_v3_large_fpn, "torch"),
    "convnext_tiny_fpn": BackboneKind(of_application("convnext_tiny_fpn"), "torch"),
    "efficientnetv2_b0_fpn": BackboneKind(of_application("efficientnetv2_b0_fpn"), "torch"),
    "resnet50v2_fpn": BackboneKind(of_application("resnet50v2_fpn"), "tf"),
    "tiny": BackboneKind(tiny, "tf"),
}

# (channels, number of convolutions) of each block (Simonyan and Zisserman, table 1, D).
VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

# The last layer of each stage of Keras' MobileNetV2; the stages have strides 2 to 32.
MOBILENET_V2_STAGES = (
    "expanded_conv_project_BN",
    "block_2_add",
    "block_5_add",
    "block_12_add",
    "out_relu",
)


def _split(network, last_shared, name):
    """Split a network after a layer: the first part is shared, the rest is the head, with P = 14."""
    shared = network.get_layer(last_shared).output
    tail = keras.Model(shared, network.output, name=name)

    def head(x):
        return layers.GlobalAveragePooling2D(name="head_pool")(tail(x))

    return Backbone((shared,), (16,), head=head, pool_size=14)


def _pyramid(stages, strides, config, batch_norm=False, **settings):
    """Build a feature pyramid on the outputs of stages. Its last level is for the RPN only."""
    levels, strides = fpn.fpn(
        stages, strides, config.pyramid_channels, batch_norm, epsilon=config.batch_norm_epsilon
    )
    return Backbone(tuple(levels), strides, roi_levels=len(stages), size_multiple=32, **settings)


def _freezing(config: ModelConfig, num_stages: int) -> tuple[int, bool, float]:
    """Return the number of trainable stages, whether batch normalization is frozen, and its epsilon."""
    if config.weights == "none":
        return num_stages, False, config.batch_norm_epsilon
    return config.trainable_stages, config.frozen_batch_norm, config.batch_norm_epsilon


def _is_keras(config: ModelConfig) -> bool:
    """Return whether to build the network as ``keras.applications`` does."""
    return config.variant == "keras"


def _freeze(network, config, ends):
    """Freeze the first stages of a network, as ``ModelConfig`` says.

    Args:
        network: Keras model.
        config: ``ModelConfig``.
        ends: name of the last layer of each stage.
    """
    names = [layer.name for layer in network.layers]
    ends = [names.index(end) for end in ends]
    trainable, frozen_norm, _ = _freezing(config, len(ends))

    def stage_of(name):
        return sum(names.index(name) > end for end in ends)

    freezing.freeze(network.input, network.output, stage_of, len(ends), trainable, frozen_norm)
