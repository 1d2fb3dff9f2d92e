"""What the pyramid backbones are made of: convolution and batch normalization, and freezing them.

Letters: B images, h and w feature map, K channels.

Decided here: padding is symmetric, ``kernel_size // 2`` on each side, as in the networks' own papers
and in PyTorch. Keras' "same" puts the odd row and column of a strided layer below and to the right,
which moves all features behind it by half a pixel: other weights would fit it.

Batch normalization is frozen by ``trainable = False``, upon which Keras uses the moving statistics in
training too: with one or two images a step, those of the batch would ruin a pretrained network.
"""

import keras
from keras import layers

from frcnn.errors import ConfigError

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

    Returns:
        (B, ceil(h / strides), ceil(w / strides), filters) Keras tensor.
    """
    convolution_name, norm_name = names
    padding = "same"
    if strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{convolution_name}_pad")(x)
        padding = "valid"
    settings = {"padding": padding, "use_bias": False, "name": convolution_name}
    if depthwise:
        convolution = layers.DepthwiseConv2D(
            kernel_size, strides, depthwise_initializer="he_normal", **settings
        )
    else:
        convolution = layers.Conv2D(
            filters, kernel_size, strides, kernel_initializer="he_normal", **settings
        )
    x = batch_norm(convolution(x), norm_name, epsilon, trainable_norm)
    return layers.Activation(activation, name=f"{norm_name}_{activation}")(x) if activation else x


def batch_norm(x, name, epsilon=EPSILON, trainable=True):
    """Normalize each channel of a Keras tensor; a tenth of each new statistic enters the moving ones."""
    return layers.BatchNormalization(momentum=0.9, epsilon=epsilon, trainable=trainable, name=name)(x)


def freeze(inputs, outputs, stage_of, num_stages, trainable_stages, frozen_batch_norm):
    """Freeze the first stages of a backbone, and its batch normalization if asked to.

    A frozen stage's batch normalization is frozen with it: its statistics too stay as they are.

    Args:
        inputs: Keras tensor that the backbone starts from.
        outputs: Keras tensors that it ends in.
        stage_of: from a layer's name to its stage, 0 for the first.
        num_stages: how many there are.
        trainable_stages: how many of them stay trainable, counted from the last.
        frozen_batch_norm: whether to freeze every batch normalization.

    Raises:
        ConfigError: ``trainable_stages`` is not from 0 to ``num_stages``.
    """
    if not 0 <= trainable_stages <= num_stages:
        raise ConfigError(
            f"trainable_stages must be from 0 to {num_stages} for this backbone, not {trainable_stages}"
        )
    for layer in keras.Model(inputs, outputs).layers:
        if layer.weights:
            is_norm = isinstance(layer, layers.BatchNormalization)
            in_trained_stage = stage_of(layer.name) >= num_stages - trainable_stages
            layer.trainable = in_trained_stage and not (is_norm and frozen_batch_norm)
