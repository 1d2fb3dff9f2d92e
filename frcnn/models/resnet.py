"""ResNet-50 and ResNet-101 for feature pyramids.

He et al. 2016 ("Deep residual learning for image recognition"), table 1. The stride of a stage is in its
first 3x3 convolution, as in PyTorch ("v1.5"), or in the 1x1 convolution before it, as in the paper and
in ``keras.applications``. Published weights exist for both.

Layers have the names of torchvision's parameters, with underscores for dots: ``layer1.0.conv1.weight``
belongs to the layer ``layer1_0_conv1``. Stage 0 is the first convolution, stage n is ``layern``.

B: images, H x W: pixels.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from frcnn.layers import conv
from frcnn.models import freezing

Tensor = Any

# Blocks in layer1 to layer4.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDES = (4, 8, 16, 32)
NUM_STAGES = 5


def resnet(
    pixels: Tensor,
    depth: int = 50,
    trainable_stages: int = NUM_STAGES,
    frozen_batch_norm: bool = False,
    epsilon: float = conv.EPSILON,
    stride_in_1x1: bool = False,
) -> list[Tensor]:
    """Build the network. Return C2 to C5, the outputs of ``layer1`` to ``layer4``.

    Args:
        pixels: (B, H, W, 3) Keras tensor, preprocessed.
        depth: 50 or 101.
        trainable_stages: 0 to 5, counted from ``layer4`` back; with 5 the first convolution is trained
            too.
        frozen_batch_norm: whether batch normalization is frozen in all stages.
        epsilon: of batch normalization.
        stride_in_1x1: whether the stride of a stage is in its first 1x1 convolution, not in its first
            3x3.

    Returns:
        Four Keras tensors, with strides ``STRIDES`` and 256, 512, 1024 and 2048 channels; their sides
        are rounded up.
    """
    x = conv.conv_bn(pixels, 64, 7, ("conv1", "bn1"), 2, "relu", epsilon)
    # After a ReLU no value is below 0, so a zero of the padding is never larger than a value of the map.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    outputs = []
    for stage, count in enumerate(DEPTHS[depth], start=1):
        for number in range(count):
            strides = 2 if number == 0 and stage > 1 else 1
            # strides of the first 1x1 convolution and of the 3x3 convolution
            strides_of_two = (strides, 1) if stride_in_1x1 else (1, strides)
            x = _bottleneck(x, 32 * 2**stage, strides_of_two, f"layer{stage}_{number}", epsilon)
        outputs.append(x)
    freezing.freeze(pixels, outputs, stage_of, NUM_STAGES, trainable_stages, frozen_batch_norm)
    return outputs


def _bottleneck(x, width, strides, name, epsilon):
    """Build a block (figure 5, right): 1x1, 3x3 and 1x1 convolutions, plus a shortcut.

    Args:
        x: Keras tensor.
        width: channels of the first two convolutions; the output has 4 times as many.
        strides: of the first 1x1 convolution and of the 3x3 convolution.
        name: first part of the layers' names.
        epsilon: of batch normalization.
    """

    def conv_bn(x, filters, kernel_size, names, strides=1, activation=None):
        names = [f"{name}_{part}" for part in names]
        return conv.conv_bn(x, filters, kernel_size, names, strides, activation, epsilon)

    shortcut = x
    if x.shape[-1] != 4 * width:  # the first block of each stage
        shortcut = conv_bn(x, 4 * width, 1, ("downsample_0", "downsample_1"), max(strides))
    x = conv_bn(x, width, 1, ("conv1", "bn1"), strides[0], activation="relu")
    x = conv_bn(x, width, 3, ("conv2", "bn2"), strides[1], activation="relu")
    x = conv_bn(x, 4 * width, 1, ("conv3", "bn3"))
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.Activation("relu", name=f"{name}_out")(x)


def stage_of(layer_name: str) -> int:
    """Return the stage of a layer, from 0."""
    return int(layer_name[len("layer")]) if layer_name.startswith("layer") else 0
