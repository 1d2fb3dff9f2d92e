"""The feature pyramid: features of one width at several scales, from a backbone's stages.

Lin et al. 2017 ("Feature pyramid networks for object detection"), section 3. Letters: B images, h and w
feature map, K channels. Levels are counted from 0, the finest.
"""

import keras
from keras import layers, ops

from frcnn.layers import conv


def fpn(
    features,
    strides,
    channels=256,
    batch_norm=False,
    frozen_batch_norm=False,
    epsilon=conv.EPSILON,
):
    """Return the levels of the pyramid, the finest first.

    Each stage gives a lateral 1x1 convolution; from the coarsest down, the level above is enlarged to
    it and added; a 3x3 convolution follows. One more level, every second cell of the last, serves the
    RPN alone (section 4.1, footnote).

    Args:
        features: (B, h, w, K) Keras tensors, the finest first; each size is the one before divided by
            the quotient of their strides, rounded up.
        strides: of ``features``, pixels of the network input a cell; each a multiple of the one before.
        channels: of every level.
        batch_norm: whether batch normalization follows each convolution, which then has no bias.
        frozen_batch_norm: whether it keeps its statistics and scales.
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

    levels, above = [], None
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
    """Add a coarser map to a finer one, each of its cells repeated ``factor`` times along both axes.

    What then stands out below and to the right, where the finer map's size was rounded up, is cut off:
    the nearest-neighbour enlargement of the paper for every size.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, finer, coarser):
        if self.factor > 1:
            coarser = ops.repeat(ops.repeat(coarser, self.factor, axis=1), self.factor, axis=2)
            coarser = coarser[:, : ops.shape(finer)[1], : ops.shape(finer)[2]]
        return finer + coarser

    def compute_output_shape(self, finer_shape, coarser_shape):
        return finer_shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
