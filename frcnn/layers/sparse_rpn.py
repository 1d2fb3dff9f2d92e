"""The RPN at the few cells that its loss looks at.

Ren et al. 2015, section 3.1.3, sample 256 anchors an image, of some 17,000 at one level and 120,000 in
a pyramid. The loss of the others is 0, and so is their gradient; to send that through the RPN's
convolutions costs as much as a stage of the backbone. So a training step runs the RPN on whole maps
only for proposals, which have no gradient, and once more, with one, on the surroundings of the sampled
cells. Losses and gradients are the same numbers.

Letters: B images, L feature cells, S cells that are looked at, A anchors a cell, K channels.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="frcnn")
class SparseRpnHead(keras.layers.Layer):
    """Scores and deltas of chosen cells: features (B, h, w, K) of each level and cells (B, S) int32.

    Gives (B, S, A) scores and (B, S, A·4) deltas, float32, what the whole RPN has there. A cell of -1 is
    padding: its values are finite and mean nothing.

    Args:
        convolutions: the RPN's 3x3 layers, in order.
        to_logits, to_deltas: its two 1x1 layers.
    """

    def __init__(self, convolutions, to_logits, to_deltas, **kwargs):
        super().__init__(**kwargs)
        self.convolutions = list(convolutions)
        self.to_logits, self.to_deltas = to_logits, to_deltas

    def call(self, features, cells):
        # Each convolution needs one more ring of neighbours.
        x, inside = surroundings(features, cells, len(self.convolutions))
        for layer in self.convolutions:
            x = ops.relu(ops.conv(x, layer.kernel, padding="valid") + layer.bias)
            inside = inside[:, 1:-1, 1:-1]
            # Beyond the map there is nothing: a convolution over the whole map sees zeros there.
            x = x * ops.cast(inside, x.dtype)[..., None]
        shape = (*ops.shape(cells), -1)
        logits, deltas = (ops.reshape(layer(x), shape) for layer in (self.to_logits, self.to_deltas))
        return ops.sigmoid(logits), deltas

    def compute_output_spec(self, features, cells):
        return tuple(
            keras.KerasTensor((*cells.shape, layer.filters), "float32")
            for layer in (self.to_logits, self.to_deltas)
        )


def surroundings(features, cells, rings):
    """Cut out the neighbourhoods of cells.

    Args:
        features: list of (B, h, w, K), whose cells are numbered level after level.
        cells: (B, S) int32.
        rings: of neighbours around each cell.

    Returns:
        (B·S, n, n, K) with n = 2·rings + 1, zeros beyond the map, and (B·S, n, n) bool, what is inside.
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
