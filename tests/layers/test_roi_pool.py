"""RoIPool by hand, by a plain loop, and against another implementation's numbers."""

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import ops
from support import at_once

from frcnn.layers.roi_pool import RoIPool


def pooled(features, rois, stride=1, pool_size=2):
    layer = at_once(RoIPool((stride,), pool_size))
    return np.asarray(layer([np.asarray(features, "float32")], np.asarray(rois, "float32")))


def test_a_bin_is_its_largest_cell_and_bins_share_the_middle():
    """Rows 1 to 3 of a 5 x 5 map: three rows in two bins are rows 1, 2 and rows 2, 3."""
    features = np.arange(25.0).reshape(1, 5, 5, 1)
    result = pooled(features, [[[1, 1, 3, 3]]])
    np.testing.assert_array_equal(result[0, 0, :, :, 0], [[12, 13], [17, 18]])


def test_edges_are_rounded_to_cells_halves_away_from_zero():
    features = np.arange(25.0).reshape(1, 5, 5, 1)
    # 0.5 becomes 1 and 2.5 becomes 3.
    np.testing.assert_array_equal(
        pooled(features, [[[8, 8, 40, 40]]], stride=16), pooled(features, [[[1, 1, 3, 3]]])
    )


def test_beyond_the_map_is_0_and_below_0_is_pooled():
    features = np.full((1, 4, 4, 1), -3.0)
    # Cells 2 to 5 in two bins: 2 and 3 are there, 4 and 5 not.
    np.testing.assert_array_equal(pooled(features, [[[2, 2, 5, 5]]])[0, 0, :, :, 0], [[-3, 0], [0, 0]])
    assert not pooled(features, [[[100, 100, 120, 120], [-50, -50, -20, -20]]]).any()


def plain(features, roi, pool_size):
    """The definition, cell by cell."""
    x1, y1, x2, y2 = (int(np.sign(v) * np.floor(abs(v) + 0.5)) for v in roi)
    height, width = Fraction(max(y2 - y1 + 1, 1), pool_size), Fraction(max(x2 - x1 + 1, 1), pool_size)
    result = np.zeros((pool_size, pool_size, features.shape[-1]))
    for row, column in np.ndindex(pool_size, pool_size):
        top, left = y1 + math.floor(row * height), x1 + math.floor(column * width)
        bottom, right = y1 + math.ceil((row + 1) * height), x1 + math.ceil((column + 1) * width)
        part = features[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if part.size:
            result[row, column] = part.max(axis=(0, 1))
    return result


def test_the_plain_loop_says_the_same_at_every_level():
    rng = np.random.default_rng(0)
    levels = [rng.normal(size=(2, 24, 31, 3)), rng.normal(size=(2, 12, 16, 3))]
    corner = rng.uniform(-20, 250, (2, 8, 2))
    # Four small ones for the fine level and four large ones, from 448 pixels on, for the coarse.
    size = rng.uniform(5, 100, (2, 8, 2)) + 450.0 * (np.arange(8) >= 4)[:, None]
    rois = np.concatenate([corner, corner + size], axis=-1).astype("float32")
    layer = at_once(RoIPool((16, 32), 3))
    result = np.asarray(layer([level.astype("float32") for level in levels], rois))
    for image, number in np.ndindex(2, 8):
        level = int(number >= 4)
        expected = plain(levels[level][image], rois[image, number] / (16, 32)[level], 3)
        np.testing.assert_allclose(result[image, number], expected, rtol=1e-6)


def test_roi_pool_golden(golden, gradient):
    table = golden("roi_align")
    features = np.moveaxis(table["features"], 1, -1)
    upstream = np.moveaxis(table["upstream"], 1, -1)
    image, rois = table["rois"][:, 0].astype(int), table["rois"][:, 1:]
    # There a RoI names its image; here each image has a row of RoIs. So every RoI is pooled from both,
    # and the one that is not asked for has no upstream gradient.
    wanted = np.eye(2, dtype="float32")[image].T
    layer, both = RoIPool((16,), pool_size=7), np.stack([rois, rois])
    result = np.asarray(layer([features], both))[image, np.arange(24)]
    np.testing.assert_allclose(result, np.moveaxis(table["roi_pool_out"], 1, -1), rtol=1e-6)

    weights = wanted[..., None, None, None] * upstream
    slope = gradient(lambda x: ops.sum(layer([x], both) * weights), features)
    expected = np.moveaxis(table["roi_pool_grad"], 1, -1)
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_of_equal_cells_the_first_has_the_gradient(gradient):
    slope = gradient(
        lambda x: ops.sum(RoIPool((1,), 1)([x], np.array([[[0, 0, 1, 1]]], "float32"))),
        np.ones((1, 2, 2, 1), "float32"),
    )
    np.testing.assert_array_equal(np.asarray(slope).ravel(), [1, 0, 0, 0])


@pytest.mark.parametrize("strides", [(16,), (8, 16)])
def test_layer_is_saved_with_its_settings(strides):
    layer = RoIPool(strides, pool_size=5)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert again.get_config() == layer.get_config()
    features = [keras.Input((None, None, 7))] * len(strides)
    assert again(features, keras.Input((None, 4))).shape == (None, None, 5, 5, 7)
