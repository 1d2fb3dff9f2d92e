"""The RPN's head at the sampled cells only.

Ren et al. 2015, section 3.1.3, sample 256 anchors per image, from about 17,000 on one level and 120,000
in a pyramid. For all other anchors the loss and its gradient are 0, but computing this gradient takes as
long as a stage of the backbone. So a training step runs the RPN twice: on the whole feature maps for the
proposals, without a gradient, and on the neighbourhoods of the sampled cells for the loss, with a
gradient. Losses and gradients are the same numbers as those of the whole RPN.

B: images, h x w: feature map, L: feature cells, S: sampled cells, A: anchors per cell, K: channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class SparseRpnHead(keras.layers.Layer):
    """Compute the RPN's scores and deltas at given cells.

    The inputs are the (B, h, w, K) features of each level and (B, S) int32 cells. The outputs are
    (B, S, A) scores and (B, S, A·4) deltas, float32, equal to those of the whole RPN. A cell of -1 is
    padding: its outputs are finite and have no meaning.

    Args:
        convolutions: the RPN's 3x3 layers, in order.
        to_logits, to_deltas: the RPN's two 1x1 layers.
    """

    def __init__(
        self,
        convolutions: Sequence[keras.layers.Layer],
        to_logits: keras.layers.Layer,
        to_deltas: keras.layers.Layer,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.convolutions = list(convolutions)
        self.to_logits, self.to_deltas = to_logits, to_deltas

    def call(self, features, cells):
        # Each 3x3 convolution needs one ring of neighbours.
        x, inside = surroundings(features, cells, len(self.convolutions))
        for layer in self.convolutions:
            x = ops.relu(ops.conv(x, layer.kernel, padding="valid") + layer.bias)
            inside = inside[:, 1:-1, 1:-1]
            # On the whole map, each layer pads its input with zeros outside the map.
            x = x * ops.cast(inside, x.dtype)[..., None]
        shape = (*ops.shape(cells), -1)
        logits, deltas = (ops.reshape(layer(x), shape) for layer in (self.to_logits, self.to_deltas))
        return ops.sigmoid(logits), deltas

    def compute_output_spec(self, features, cells):
        return tuple(
            keras.KerasTensor((*cells.shape, layer.filters), "float32")
            for layer in (self.to_logits, self.to_deltas)
        )

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "convolutions": [serialize(layer) for layer in self.convolutions],
            "to_logits": serialize(self.to_logits),
            "to_deltas": serialize(self.to_deltas),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SparseRpnHead:
        names = ("convolutions", "to_logits", "to_deltas")
        return cls(
            **config | {name: keras.saving.deserialize_keras_object(config[name]) for name in names}
        )


def surroundings(features: Sequence[Tensor], cells: Tensor, rings: int) -> tuple[Tensor, Tensor]:
    """Cut out the neighbourhoods of cells.

    Args:
        features: list of (B, h, w, K). Cells are numbered level after level.
        cells: (B, S) int32.
        rings: number of rings of neighbours around each cell.

    Returns:
        (B·S, n, n, K) with n = 2·rings + 1, zeros outside the map.
        (B·S, n, n) bool, whether a cell is inside the map.
    """
    side = 2 * rings + 1
    dy, dx = (
        ops.convert_to_tensor(part, "int32") for part in np.indices((side, side)).reshape(2, -1) - rings
    )
    batch, count = ops.shape(cells)
    image = ops.cast(ops.arange(batch), "int32")[:, None, None]
    found, inside, start = 0, False, 0
    for map_ in features:
        height, width = ops.shape(map_)[1:3]
        cell = (cells - start)[..., None]
        row, column = cell // width + dy, cell % width + dx
        here = (cell >= 0) & (cell < height * width)
        here = here & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        index = ops.where(here, (image * height + row) * width + column, 0)
        values = ops.take(ops.reshape(map_, (-1, map_.shape[-1])), index, axis=0)
        found = found + values * ops.cast(here, values.dtype)[..., None]
        inside = inside | here
        start = start + height * width
    shape = (batch * count, side, side)
    return ops.reshape(found, (*shape, features[0].shape[-1])), ops.reshape(inside, shape)
