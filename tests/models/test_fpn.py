"""The feature pyramid, by hand. ``weights/test_torchvision_state.py`` holds its numbers."""

import keras
import numpy as np
import pytest

from frcnn.models import fpn
from frcnn.weights.initial import weighted_layers


def pyramid(shapes, strides, **settings):
    """Return a model from features of some (h, w, K) to the levels, and the levels' strides."""
    features = [keras.Input(shape) for shape in shapes]
    levels, level_strides = fpn.fpn(features, strides, channels=2, **settings)
    return keras.Model(features, levels), level_strides


def test_each_cell_is_repeated_and_what_stands_out_is_cut_off():
    finer = np.zeros((1, 3, 5, 1), "float32")
    coarser = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
    summed = np.asarray(fpn.UpsampleAdd(2)(finer + 10, coarser))
    np.testing.assert_array_equal(
        summed[0, :, :, 0] - 10, [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    )


def test_levels_of_one_stride_are_added_as_they_are():
    values = np.arange(6, dtype="float32").reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(np.asarray(fpn.UpsampleAdd(1)(values, values)), 2 * values)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_level_by_hand(batch_norm):
    # With identity kernels a level is the sum of all above it, enlarged.
    model, strides = pyramid([(None, None, 2)] * 3, (8, 16, 32), batch_norm=batch_norm, epsilon=0.0)
    assert strides == (8, 16, 32, 64)
    for layer in weighted_layers(model):
        if isinstance(layer, keras.layers.Conv2D):
            kernel = np.zeros(layer.kernel.shape, "float32")
            kernel[len(kernel) // 2, len(kernel) // 2] = np.eye(2)
            layer.set_weights([kernel, *(np.zeros(2),) * (not batch_norm)])
    rng = np.random.default_rng(0)
    c3, c4, c5 = (rng.random((1, *size, 2), dtype="float32") for size in ((5, 7), (3, 4), (2, 2)))
    levels = [np.asarray(level) for level in model([c3, c4, c5])]

    p4 = c4 + c5.repeat(2, 1).repeat(2, 2)[:, :3, :4]
    p3 = c3 + p4.repeat(2, 1).repeat(2, 2)[:, :5, :7]
    for level, expected in zip(levels, (p3, p4, c5, c5[:, ::2, ::2]), strict=True):
        np.testing.assert_allclose(level, expected, atol=1e-6)


def test_frozen_batch_norm():
    shapes = [(4, 4, 3), (2, 2, 3)]
    model, _ = pyramid(shapes, (4, 8), batch_norm=True, frozen_batch_norm=True)
    norms = {layer.name for layer in weighted_layers(model) if not layer.trainable}
    assert norms == {f"fpn_{part}{level}_bn" for part in ("lateral", "output") for level in (0, 1)}


def test_the_layer_survives_its_config():
    assert fpn.UpsampleAdd.from_config(fpn.UpsampleAdd(2).get_config()).factor == 2
