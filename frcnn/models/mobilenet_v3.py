"""MobileNetV3-Large for feature pyramids.

Howard et al. 2019 ("Searching for MobileNetV3"), table 1, up to the last 1x1 convolution before the
pooling.

Layers have the names of torchvision's parameters, with underscores for dots:
``features.4.block.2.fc1.weight`` belongs to the layer ``features_4_block_2_fc1``. Epsilon of batch
normalization is 1e-5, as in torchvision's detectors; it is 1e-3 in torchvision's classifier and in the
paper's code.

B: images, H x W: pixels.
"""

from __future__ import annotations

import bisect
import dataclasses
from typing import Any

from keras import layers

from frcnn.layers import conv
from frcnn.models import freezing

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Bottleneck:
    """A row of table 1.

    Attributes:
        kernel_size: side of the depthwise kernel.
        expansion: channels of the expansion.
        filters: channels of the output.
        squeeze: whether the block has squeeze-and-excitation.
        activation: name of the nonlinearity.
        strides: stride of the depthwise convolution.
    """

    kernel_size: int
    expansion: int
    filters: int
    squeeze: bool
    activation: str
    strides: int


BOTTLENECKS = (
    Bottleneck(3, 16, 16, False, "relu", 1),
    Bottleneck(3, 64, 24, False, "relu", 2),
    Bottleneck(3, 72, 24, False, "relu", 1),
    Bottleneck(5, 72, 40, True, "relu", 2),
    Bottleneck(5, 120, 40, True, "relu", 1),
    Bottleneck(5, 120, 40, True, "relu", 1),
    Bottleneck(3, 240, 80, False, "hard_silu", 2),
    Bottleneck(3, 200, 80, False, "hard_silu", 1),
    Bottleneck(3, 184, 80, False, "hard_silu", 1),
    Bottleneck(3, 184, 80, False, "hard_silu", 1),
    Bottleneck(3, 480, 112, True, "hard_silu", 1),
    Bottleneck(3, 672, 112, True, "hard_silu", 1),
    Bottleneck(5, 672, 160, True, "hard_silu", 2),
    Bottleneck(5, 960, 160, True, "hard_silu", 1),
    Bottleneck(5, 960, 160, True, "hard_silu", 1),
)
STRIDES = (32, 32)
# The number n of the first layer ``features_n`` of each stage. A stage begins at the first convolution,
# at each block with a stride, and at the last convolution.
STAGE_STARTS = (0, 2, 4, 7, 13, 16)
NUM_STAGES = len(STAGE_STARTS)


def mobilenet_v3_large(
    pixels: Tensor,
    trainable_stages: int = NUM_STAGES,
    frozen_batch_norm: bool = False,
    epsilon: float = conv.EPSILON,
    pad_end: bool = False,
) -> list[Tensor]:
    """Build the network. Return the outputs that torchvision's detectors build their pyramid on.

    These are the outputs of the first block with 160 channels and of the last convolution. Both have
    stride 32, so the pyramid has no finer level. This makes the detectors fast, and poor at small
    objects.

    Args:
        pixels: (B, H, W, 3) Keras tensor, preprocessed.
        trainable_stages: 0 to 6, counted from the last convolution back.
        frozen_batch_norm: whether batch normalization is frozen in all stages.
        epsilon: of batch normalization.
        pad_end: whether strided layers pad one row less above and one column less on the left, as
            ``keras.applications`` does for sides of even length.

    Returns:
        Two Keras tensors, with strides ``STRIDES`` and 160 and 960 channels; their sides are rounded up.
    """
    names = ("features_0_0", "features_0_1")
    x = conv.conv_bn(pixels, 16, 3, names, 2, "hard_silu", epsilon, pad_end=pad_end)
    outputs = []
    for number, row in enumerate(BOTTLENECKS, start=1):
        x = _bottleneck(x, row, f"features_{number}_block", epsilon, pad_end)
        if number == STAGE_STARTS[-2]:
            outputs.append(x)
    names = ("features_16_0", "features_16_1")
    outputs.append(conv.conv_bn(x, 960, 1, names, 1, "hard_silu", epsilon))
    freezing.freeze(pixels, outputs, stage_of, NUM_STAGES, trainable_stages, frozen_batch_norm)
    return outputs


def _bottleneck(x, row, name, epsilon, pad_end):
    """Build a block (figure 4): expansion, depthwise convolution, squeeze-and-excitation, projection."""
    shortcut, steps = x, 0

    def conv_bn(x, filters, kernel_size, **settings):
        nonlocal steps
        names = (f"{name}_{steps}_0", f"{name}_{steps}_1")
        steps += 1
        return conv.conv_bn(x, filters, kernel_size, names, epsilon=epsilon, **settings)

    if row.expansion != x.shape[-1]:
        x = conv_bn(x, row.expansion, 1, activation=row.activation)
    x = conv_bn(
        x,
        None,
        row.kernel_size,
        strides=row.strides,
        activation=row.activation,
        depthwise=True,
        pad_end=pad_end,
    )
    if row.squeeze:
        x = _squeeze_excite(x, f"{name}_{steps}")
        steps += 1
    x = conv_bn(x, row.filters, 1)
    if row.strides == 1 and row.filters == shortcut.shape[-1]:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _squeeze_excite(x, name):
    """Multiply each channel by a weight computed from all channel means. Section 5.3; Hu et al. 2018."""
    channels = x.shape[-1]
    weights = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    weights = layers.Conv2D(
        _round_to_8(channels // 4),
        1,
        activation="relu",
        kernel_initializer="he_normal",
        name=f"{name}_fc1",
    )(weights)
    weights = layers.Conv2D(channels, 1, activation="hard_sigmoid", name=f"{name}_fc2")(weights)
    return layers.Multiply(name=f"{name}_scale")([x, weights])


def _round_to_8(channels):
    """Return the nearest multiple of 8, or the next higher one if that is below 0.9 of the number."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def stage_of(layer_name: str) -> int:
    """Return the stage of a layer, from 0."""
    return bisect.bisect(STAGE_STARTS, int(layer_name.split("_")[1])) - 1
