"""The shared convolutional layers, and what each brings for the head.

Letters: B images, h and w feature map, K channels. ``vgg16``, ``resnet50`` and ``mobilenet_v2`` come
from ``keras.applications``; the pyramids (``..._fpn``) stand on ``frcnn.models.resnet``,
``models.mobilenet_v3`` and Keras' MobileNetV2. All are built without weights: ``weights.initial`` fills
them, so that it can say what was filled.

Decided here: with pretrained weights the first stages are frozen, as Fast R-CNN found enough (Girshick
2015, section 4.5), and so is batch normalization, whose statistics a batch of one or two images
would ruin; from nothing, everything is trained.
"""

import dataclasses
from collections.abc import Callable

import keras
from keras import layers

from frcnn.layers import conv
from frcnn.models import fpn, freezing, heads, mobilenet_v3, resnet


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What a backbone hands on.

    Attributes:
        features: (B, h, w, K) Keras tensors, finest first: the levels that the RPN looks at.
        strides: of each level, pixels of the network input a cell.
        roi_levels: how many of them, from the finest on, RoIs are pooled from.
        size_multiple: image sides must be multiples of this, pixels.
        head: what is put on pooled RoIs, (N, P, P, K) to (N, k); None: dense layers.
        pool_size: P that the head wants; None: any.
        rpn_depth: 3x3 convolutions that its RPN has.
    """

    features: tuple
    strides: tuple[int, ...]
    roi_levels: int = 1
    size_multiple: int = 16
    head: Callable | None = None
    pool_size: int | None = None
    rpn_depth: int = 1


def vgg16(pixels, config):
    """Simonyan and Zisserman 2015 up to block5_conv3: stride 16, 512 channels."""
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


def resnet50(pixels, config):
    """He et al. 2016 as "C4": up to conv4 shared, stride 16, 1024 channels; conv5 in the head."""
    network = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=pixels)
    ends = ("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    _freeze(network, config, ends)
    return _split(network, "conv4_block6_out", "conv5")


def mobilenet_v2(pixels, config):
    """Sandler et al. 2018 up to the widening of block 13: stride 16; the rest in the head."""
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=pixels)
    _freeze(network, config, MOBILENET_V2_STAGES)
    return _split(network, "block_13_expand_relu", "blocks_13_to_16")


def mobilenet_v2_fpn(pixels, config):
    """MobileNetV2 under a pyramid of strides 4 to 32, and 64 for the RPN alone."""
    network = keras.applications.MobileNetV2(include_top=False, weights=None, input_tensor=pixels)
    _freeze(network, config, MOBILENET_V2_STAGES)
    ends = ("block_2_add", "block_5_add", "block_12_add", "out_relu")
    return _pyramid([network.get_layer(name).output for name in ends], (4, 8, 16, 32), config)


def resnet50_fpn(pixels, config, depth=50):
    """Lin et al. 2017: C2 to C5 of a ResNet under a pyramid of strides 4 to 32, and 64 for the RPN."""
    stages = resnet.resnet(pixels, depth, *_freezing(config, resnet.NUM_STAGES), _is_keras(config))
    return _pyramid(stages, resnet.STRIDES, config)


def resnet101_fpn(pixels, config):
    """``resnet50_fpn``, deeper."""
    return resnet50_fpn(pixels, config, depth=101)


def resnet50_fpn_v2(pixels, config):
    """Li et al. 2021: batch normalization in the pyramid and in a head of four convolutions."""
    stages = resnet.resnet(pixels, 50, *_freezing(config, resnet.NUM_STAGES), _is_keras(config))

    def head(x):
        return heads.convolutional_head(x, width=config.head_width, frozen_batch_norm=False)

    return _pyramid(stages, resnet.STRIDES, config, batch_norm=True, head=head, rpn_depth=2)


def mobilenet_v3_large_fpn(pixels, config):
    """Howard et al. 2019 under a pyramid of two levels of stride 32, and 64 for the RPN alone."""
    settings = _freezing(config, mobilenet_v3.NUM_STAGES)
    stages = mobilenet_v3.mobilenet_v3_large(pixels, *settings, _is_keras(config))
    return _pyramid(stages, mobilenet_v3.STRIDES, config)


def tiny(pixels, config):
    """A small network that trains from nothing on a CPU: stride 8, 128 channels, nothing frozen."""
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
    """How to build a backbone, and what its published weights were trained on."""

    build: Callable  # of (B, H, W, 3) preprocessed pixels and ``ModelConfig``
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
    "tiny": BackboneKind(tiny, "tf"),
}

# Channels and number of the convolutions between two poolings (Simonyan and Zisserman, table 1, D).
VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

# The last layer of each stage of Keras' MobileNetV2, of strides 2 to 32.
MOBILENET_V2_STAGES = (
    "expanded_conv_project_BN",
    "block_2_add",
    "block_5_add",
    "block_12_add",
    "out_relu",
)


def _split(network, last_shared, name):
    """Share a network up to a layer, and make of the rest a head for RoIs of 14 x 14."""
    shared = network.get_layer(last_shared).output
    tail = keras.Model(shared, network.output, name=name)

    def head(x):
        return layers.GlobalAveragePooling2D(name="head_pool")(tail(x))

    return Backbone((shared,), (16,), head=head, pool_size=14)


def _pyramid(stages, strides, config, batch_norm=False, **settings):
    """Put a feature pyramid on stages; its last level serves the RPN alone."""
    levels, strides = fpn.fpn(stages, strides, batch_norm=batch_norm, epsilon=config.batch_norm_epsilon)
    return Backbone(tuple(levels), strides, roi_levels=len(stages), size_multiple=32, **settings)


def _freezing(config, num_stages):
    """Return trainable stages, whether batch normalization is frozen, and its epsilon."""
    if config.weights == "none":
        return num_stages, False, config.batch_norm_epsilon
    return config.trainable_stages, config.frozen_batch_norm, config.batch_norm_epsilon


def _is_keras(config):
    """Return whether a pyramid stands on the network as ``keras.applications`` has it."""
    return config.variant == "keras"


def _freeze(network, config, ends):
    """Freeze a network's first stages, given the last layer of each, as ``ModelConfig`` says."""
    names = [layer.name for layer in network.layers]
    ends = [names.index(end) for end in ends]
    trainable, frozen_norm, _ = _freezing(config, len(ends))

    def stage_of(name):
        return sum(names.index(name) > end for end in ends)

    freezing.freeze(network.input, network.output, stage_of, len(ends), trainable, frozen_norm)
