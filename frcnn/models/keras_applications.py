"""More backbones of ``keras.applications``, by the last layer of each of their stages.

They are built as Keras builds them, without the preprocessing in some of them (``Preprocess`` does it).
``frcnn.models.backbones`` puts a feature pyramid on their stages.

B: images, H x W: pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Application:
    """A network of ``keras.applications``.

    Attributes:
        build: constructor.
        stages: names of the last layers of its five stages. The first has no level; the others have
            strides 4, 8, 16 and 32.
        next_layers: where a stage ends with a sum, which is no layer: the names of the layers that get
            the first three levels. The network's last layer gets the fourth.
        options: arguments of ``build`` beside ``include_top``, ``weights`` and ``input_tensor``.
    """

    build: Callable[..., keras.Model]
    stages: tuple[str, str, str, str, str]
    next_layers: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def network(self, pixels: Tensor) -> tuple[keras.Model, list[Tensor]]:
        """Build the network with random weights.

        Args:
            pixels: (B, H, W, 3) Keras tensor, preprocessed.

        Returns:
            The network up to its last level, and the four levels.
        """
        whole = self.build(include_top=False, weights=None, input_tensor=pixels, **self.options)
        if self.next_layers:
            after = [*(whole.get_layer(name) for name in self.next_layers), whole.layers[-1]]
            levels = [layer.input for layer in after]
        else:
            levels = [whole.get_layer(name).output for name in self.stages[1:]]
        return keras.Model(pixels, levels[-1]), levels


APPLICATIONS = {
    # Liu et al. 2022, without the normalization before the classes.
    "convnext_tiny_fpn": Application(
        keras.applications.ConvNeXtTiny,
        (
            "convnext_tiny_stem",
            "convnext_tiny_stage_0_block_2_identity",
            "convnext_tiny_stage_1_block_2_identity",
            "convnext_tiny_stage_2_block_8_identity",
            "convnext_tiny_stage_3_block_2_identity",
        ),
        tuple(f"convnext_tiny_downsampling_block_{number}" for number in range(3)),
        {"include_preprocessing": False},
    ),
    # Tan and Le 2021.
    "efficientnetv2_b0_fpn": Application(
        keras.applications.EfficientNetV2B0,
        ("block1a_project_activation", "block2b_add", "block3b_add", "block5e_add", "top_activation"),
        options={"include_preprocessing": False},
    ),
    # He et al. 2016 ("Identity mappings"). The last block of a stage has its stride, so a level is the
    # output of the block before.
    "resnet50v2_fpn": Application(
        keras.applications.ResNet50V2,
        ("pool1_pool", "conv2_block2_out", "conv3_block3_out", "conv4_block5_out", "post_relu"),
    ),
}
