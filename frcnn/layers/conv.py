"""What the pyramid backbones are made of: convolution and batch normalization, and freezing them.

Letters: B images, h and w feature map, K channels.

Decided here: padding is symmetric, ``kernel_size // 2`` on each side, as in the networks' own papers
and in PyTorch. Keras' "same" puts the odd row and column of a strided layer below and to the right,
which moves all features behind it by half a pixel: other weights fit it, for which there is ``pad_end``.

Batch normalization is frozen by ``trainable = False``, upon which Keras uses the moving statistics in
training too: with one or two images a step, those of the batch would ruin a pretrained network.
"""

from keras import layers, ops

from frcnn.layers import conv_ways, winograd

EPSILON = 1e-5  # added to the variance


def conv_bn(
    x,
    filters,
    kernel_size,
    names,
    strides=1,
    activation=None,
    epsilon=EPSILON,
    depthwise=False,
    trainable_norm=True,
    pad_end=False,
):
    """Convolve without bias, normalize, and apply an activation.

    Args:
        x: (B, h, w, K) Keras tensor.
        filters: channels that come out; not used where ``depthwise``.
        kernel_size: odd.
        names: of the convolution and of the normalization.
        strides: of the convolution.
        activation: a Keras activation's name; None for none.
        epsilon: of the normalization.
        depthwise: one kernel a channel, K channels out.
        trainable_norm: False freezes the normalization.
        pad_end: where strided, pad one row and column less above and to the left: what Keras' "same"
            does to sides of even length.

    Returns:
        (B, ceil(h / strides), ceil(w / strides), filters) Keras tensor.
    """
    convolution_name, norm_name = names
    padding = "same"
    if strides > 1 and kernel_size > 1:
        half = kernel_size // 2
        pad = ((half - 1, half), (half - 1, half)) if pad_end else half
        x = layers.ZeroPadding2D(pad, name=f"{convolution_name}_pad")(x)
        padding = "valid"
    settings = {"padding": padding, "use_bias": False, "name": convolution_name}
    norm = FoldedNorm(momentum=0.9, epsilon=epsilon, trainable=trainable_norm, name=norm_name)
    if depthwise:
        convolution = NormalizedDepthwiseConv2D(
            norm, kernel_size, strides, depthwise_initializer="he_normal", **settings
        )
    else:
        convolution = NormalizedConv2D(
            norm, filters, kernel_size, strides, kernel_initializer="he_normal", **settings
        )
    x = norm(convolution(x))
    return layers.Activation(activation, name=f"{norm_name}_{activation}")(x) if activation else x


def batch_norm(x, name, epsilon=EPSILON, trainable=True):
    """Normalize each channel of a Keras tensor; a tenth of each new statistic enters the moving ones."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, trainable=trainable, name=name)(x)


class FoldedNorm(layers.BatchNormalization):
    """Batch normalization that leaves the work to the convolution before it while nothing in it changes.

    With fixed statistics it is a factor and a summand a channel. The factor goes into the convolution's
    kernel, the summand is its bias, and the maps need not be gone through twice more: 0.07 s of a
    step of 2.7 s with ResNet-50 and a pyramid, on two CPU cores.
    """

    def folds(self, training):
        """Return whether its numbers stay as they are in this call."""
        return not (training and self.trainable)

    def factor_and_summand(self):
        """Return what each channel is multiplied by, (K,), and what is then added."""
        factor = ops.cast(self.gamma, "float32") / ops.sqrt(self.moving_variance + self.epsilon)
        return factor, ops.cast(self.beta, "float32") - self.moving_mean * factor

    def call(self, inputs, training=None, mask=None):
        return inputs if self.folds(training) else super().call(inputs, training=training, mask=mask)


class _Normalized:
    """A convolution that does the work of the ``FoldedNorm`` behind it, where that leaves it."""

    def __init__(self, norm, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # In a tuple of functions, which Keras does not track: the normalization is a layer of its own.
        self._norm = (norm.folds, norm.factor_and_summand, norm.build)

    def build(self, input_shape):
        super().build(input_shape)
        self._norm[2](self.compute_output_shape(input_shape))

    def call(self, inputs, training=None):
        folds, factor_and_summand, _ = self._norm
        if not folds(training):
            return super().call(inputs)
        factor, summand = (ops.cast(part, self.compute_dtype) for part in factor_and_summand())
        return ops.add(self._convolve(inputs, factor), summand)


class Conv2D(layers.Conv2D):
    """Keras' layer, which takes fewer multiplications where that is faster (``frcnn.layers.winograd``).

    The layer keeps the choice that is in effect when it is made (``frcnn.layers.conv_ways``).
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._tiles_from = conv_ways.current()

    def convolution_op(self, inputs, kernel):
        settings = (self.kernel_size, self.strides, self.dilation_rate, self.padding, self.groups)
        by_rows = self.data_format == "channels_last"
        if by_rows and settings == ((3, 3), (1, 1), (1, 1), "same", 1):
            return winograd.conv(inputs, kernel, self._tiles_from)
        return super().convolution_op(inputs, kernel)


class NormalizedConv2D(_Normalized, Conv2D):
    def _convolve(self, inputs, factor):
        return self.convolution_op(inputs, self.kernel * factor)


class NormalizedDepthwiseConv2D(_Normalized, layers.DepthwiseConv2D):
    def _convolve(self, inputs, factor):
        kernel = self.kernel * factor[:, None]
        return ops.depthwise_conv(
            inputs,
            kernel,
            tuple(self.strides),
            self.padding,
            self.data_format,
            tuple(self.dilation_rate),
        )
