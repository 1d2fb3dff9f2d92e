"""Any Keras model as a backbone: its strides, anchors for them, and a pyramid on keras-hub's.

B: images, H x W: pixels, h and w: feature map, K: channels.
"""

from __future__ import annotations

from typing import Any

import keras

from frcnn.config.schema import AnchorConfig
from frcnn.errors import ConfigError
from frcnn.models.backbones import Backbone
from frcnn.models.fpn import fpn

# Side of the image from which strides are computed, pixels: a multiple of all usual strides.
PROBE = 2048


def from_model(model: keras.Model, pixels: Any) -> Backbone:
    """Make a ``Backbone`` from a Keras model whose outputs are feature levels.

    RoIs are pooled from all levels. The strides are computed from the model's output shapes.

    Args:
        model: from (B, H, W, 3) to one (B, h, w, K), or to a list of them, the finest first.
        pixels: (B, H, W, 3) Keras tensor that the model is applied to.

    Raises:
        ConfigError: an output is not (B, h, w, K); its sides are not those of the input divided by a
            stride; its stride is not twice that of the level before; or the numbers of channels differ.
    """
    strides = []
    for number, level in enumerate(_levels_of(model, PROBE), start=1):
        if len(level.shape) != 4 or not level.shape[1]:
            raise ConfigError(
                f"feature level {number} of the backbone is not (B, h, w, K): {level.shape}"
            )
        strides.append(round(PROBE / level.shape[1]))
    for side in (PROBE, 3 * max(strides)):
        for number, (level, stride) in enumerate(zip(_levels_of(model, side), strides), start=1):
            if level.shape[1:3] != (side // stride, side // stride):
                raise ConfigError(
                    f"feature level {number} of the backbone has {level.shape[1]} x {level.shape[2]} "
                    f"cells for {side} x {side} pixels, but must have {side // stride} x "
                    f'{side // stride} at stride {stride}: pad its layers with "same"'
                )
    channels = [level.shape[-1] for level in _levels_of(model, PROBE)]
    if len(set(channels)) > 1:
        raise ConfigError(
            f"the feature levels of the backbone have {channels} channels, but the RPN needs the same "
            "number on each level: put frcnn.models.fpn.fpn on them"
        )
    if any(stride != 2 * finer for finer, stride in zip(strides, strides[1:])):
        raise ConfigError(f"each feature level must have twice the stride of the one before: {strides}")
    features = tuple(keras.tree.flatten(model(pixels)))
    return Backbone(features, tuple(strides), roi_levels=len(strides), size_multiple=max(strides))


def with_pyramid(backbone: Any, channels: int = 256) -> keras.Model:
    """Put a feature pyramid on a backbone of keras-hub, for ``FasterRCNN``.

    Args:
        backbone: a model with one input (B, H, W, 3) and ``pyramid_outputs``, {"P2": (B, h, w, K), ...},
            where level N has stride 2**N; most image backbones of keras-hub, such as ResNet. It needs
            the preprocessing of its preset: ``FasterRCNN(..., preprocessing=...)``.
        channels: number of channels of each level.

    Returns:
        A Keras model from images to the levels from P2 (or the finest there is) to the coarsest.

    Raises:
        ConfigError: the model has no ``pyramid_outputs``, or another input than one image.

    Example:
        >>> backbone = keras_hub.models.Backbone.from_preset("resnet_50_imagenet")
        >>> model = FasterRCNN(with_pyramid(backbone), num_classes=21, preprocessing="caffe")
    """
    outputs = getattr(backbone, "pyramid_outputs", None)
    inputs = keras.tree.flatten(getattr(backbone, "input", None))
    if not outputs or len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise ConfigError(
            f"{type(backbone).__name__} has no pyramid_outputs of one input (B, H, W, 3), which a "
            "feature pyramid needs"
        )
    numbers = sorted(number for number in (int(name[1:]) for name in outputs) if number >= 2)
    features = [outputs[f"P{number}"] for number in numbers]
    levels, _ = fpn(features, [2**number for number in numbers], channels)
    return keras.Model(inputs[0], levels[:-1])  # without the level for the RPN only


def default_anchors(strides: tuple[int, ...]) -> AnchorConfig:
    """Return the anchors of a backbone that has no preset.

    On one level the sizes are 8, 16 and 32 strides, as in Ren et al. 2015 (128, 256 and 512 at stride
    16). On several levels it is one size per level, 8 strides, as in Lin et al. 2017, section 4.1.
    """
    if len(strides) == 1:
        return AnchorConfig(sizes=tuple(float(factor * strides[0]) for factor in (8, 16, 32)))
    return AnchorConfig(sizes=tuple(8.0 * stride for stride in strides), size_per_level=True)


def _levels_of(model, side):
    """Return a model's outputs, as shapes only, for an image of ``side`` x ``side`` pixels."""
    return keras.tree.flatten(model(keras.KerasTensor((1, side, side, 3))))
