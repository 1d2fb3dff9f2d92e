"""The feature pyramid: features at several scales, with the same number of channels.

Lin et al. 2017 ("Feature pyramid networks for object detection"), section 3. Level 0 is the finest.

B: images, h x w: feature map, K: channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from frcnn.layers import conv

Tensor = Any


def fpn(
    features: Sequence[Tensor],
    strides: Sequence[int],
    channels: int = 256,
    batch_norm: bool = False,
    frozen_batch_norm: bool = False,
    epsilon: float = conv.EPSILON,
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Build a feature pyramid. Return its levels, the finest first, and their strides.

    Each feature map goes through a lateral 1x1 convolution. From the coarsest level to the finest, the
    coarser level is enlarged and added. Then a 3x3 convolution follows. One more level, every second
    cell of the coarsest one, is for the RPN only (section 4.1, footnote).

    Args:
        features: (B, h, w, K) Keras tensors, the finest first. The sides of each are those of the one
            before, divided by the quotient of their strides and rounded up.
        strides: pixels of the network input per feature cell, for each of ``features``; each is a
            multiple of the one before.
        channels: number of channels of every level.
        batch_norm: whether batch normalization follows each convolution, which then has no bias.
        frozen_batch_norm: whether batch normalization is frozen.
        epsilon: of batch normalization.

    Returns:
        ``len(features) + 1`` Keras tensors (B, h, w, channels), and their strides.
    """

    def convolve(x, kernel_size, name):
        x = conv.Conv2D(
            channels,
            kernel_size,
            padding="same",
            use_bias=not batch_norm,
            kernel_initializer="lecun_uniform",
            name=name,
        )(x)
        return conv.batch_norm(x, f"{name}_bn", epsilon, not frozen_batch_norm) if batch_norm else x

    levels: list[Tensor] = []
    above = None
    for level in reversed(range(len(features))):
        x = convolve(features[level], 1, f"fpn_lateral{level}")
        if above is not None:
            factor = strides[level + 1] // strides[level]
            x = UpsampleAdd(factor, name=f"fpn_add{level}")(x, above)
        above = x
        levels.insert(0, convolve(x, 3, f"fpn_output{level}"))
    levels.append(layers.MaxPooling2D(1, 2, name="fpn_pool")(levels[-1]))
    return levels, (*strides, 2 * strides[-1])


@keras.saving.register_keras_serializable(package="frcnn")
class UpsampleAdd(layers.Layer):
    """Enlarge a coarser map by nearest neighbour, and add it to a finer one.

    Each cell of the coarser map (B, h, w, K) is repeated ``factor`` times along both axes. Rows and
    columns beyond the finer map are cut off: they exist where the coarser map's sides were rounded up.

    Args:
        factor: stride of the coarser map divided by that of the finer one.
    """

    def __init__(self, factor: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, finer: Tensor, coarser: Tensor) -> Tensor:
        if self.factor > 1:
            coarser = ops.repeat(ops.repeat(coarser, self.factor, axis=1), self.factor, axis=2)
            coarser = coarser[:, : ops.shape(finer)[1], : ops.shape(finer)[2]]
        return finer + coarser

    def compute_output_shape(self, finer_shape, coarser_shape):
        return finer_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}
