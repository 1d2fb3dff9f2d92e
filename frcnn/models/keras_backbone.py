"""Any Keras model as a backbone: its strides, and anchors for them.

B: images, H x W: pixels, h and w: feature map, K: channels.
"""

from __future__ import annotations

from typing import Any

import keras

from frcnn.config.schema import AnchorConfig
from frcnn.errors import ConfigError
from frcnn.models.backbones import Backbone

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
