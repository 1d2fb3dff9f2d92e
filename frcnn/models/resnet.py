"""ResNet-50 and ResNet-101 for feature pyramids.

He et al. 2016 ("Deep residual learning for image recognition"), table 1, with the stride of a stage in
its first 3x3 convolution ("v1.5", as PyTorch has it), or in the 1x1 before it as the paper and
``keras.applications`` have it. Each is what published weights were trained in. Letters: B images, H x W
pixels.

A layer's name is that of torchvision's parameters with underscores for dots: ``layer1.0.conv1.weight``
belongs to ``layer1_0_conv1``. Stage 0 is the stem, stage n is ``layern``.
"""

from keras import layers

from frcnn.layers import conv
from frcnn.models import freezing

# Blocks in layer1 to layer4.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDES = (4, 8, 16, 32)
NUM_STAGES = 5


def resnet(
    pixels,
    depth=50,
    trainable_stages=NUM_STAGES,
    frozen_batch_norm=False,
    epsilon=conv.EPSILON,
    stride_in_1x1=False,
):
    """Return the outputs C2 to C5 of the four stages.

    Args:
        pixels: (B, H, W, 3) Keras tensor, preprocessed.
        depth: 50 or 101.
        trainable_stages: 0 to 5, counted from ``layer4`` down; the fifth is the stem.
        frozen_batch_norm: whether batch normalization keeps its statistics and scales in all stages.
        epsilon: of batch normalization.
        stride_in_1x1: whether a stage's stride is in its first 1x1 convolution, not in its first 3x3.

    Returns:
        Four Keras tensors, of strides ``STRIDES``, with 256, 512, 1024 and 2048 channels; sizes are
        rounded up.
    """
    x = conv.conv_bn(pixels, 64, 7, ("conv1", "bn1"), 2, "relu", epsilon)
    # After a ReLU nothing is below 0, so that zeros around the map never are a window's maximum.
    x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    outputs = []
    for stage, count in enumerate(DEPTHS[depth], start=1):
        for number in range(count):
            strides = 2 if number == 0 and stage > 1 else 1
            # of the first 1x1 convolution and of the 3x3
            split = (strides, 1) if stride_in_1x1 else (1, strides)
            x = _bottleneck(x, 32 * 2**stage, split, f"layer{stage}_{number}", epsilon)
        outputs.append(x)
    freezing.freeze(pixels, outputs, stage_of, NUM_STAGES, trainable_stages, frozen_batch_norm)
    return outputs


def _bottleneck(x, width, strides, name, epsilon):
    """1x1, 3x3 and 1x1 convolution beside a shortcut (figure 5, right), 4 · ``width`` channels out."""

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


def stage_of(layer_name):
    """Return the stage that a layer belongs to."""
    return int(layer_name[len("layer")]) if layer_name.startswith("layer") else 0
