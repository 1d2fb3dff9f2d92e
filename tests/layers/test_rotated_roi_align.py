"""Rotated RoIAlign: against RoIAlign, against a plain loop, and by turning image and box together."""

import math

import numpy as np
import pytest
from support import at_once

from frcnn.layers.roi_align import RoIAlign
from frcnn.layers.rotated_roi_align import RotatedRoIAlign


def pooled(features, rois, strides=(1,), **options):
    """(B, R, E) RoIs, numpy, pooled from a list of features."""
    layer = (RotatedRoIAlign if np.shape(rois)[-1] == 5 else RoIAlign)(strides=strides, **options)
    features = [np.asarray(level, "float32") for level in features]
    return np.asarray(at_once(layer)(features, np.asarray(rois, "float32")))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_an_angle_of_zero_is_roi_align(rng):
    features = [rng.normal(size=(2, 16, 20, 3)), rng.normal(size=(2, 8, 10, 3))]
    corners = rng.uniform(0, 60, (2, 6, 2))
    sizes = rng.uniform(8, 400, (2, 6, 2))
    straight = np.concatenate([corners, corners + sizes], axis=-1)
    oriented = np.concatenate([corners + sizes / 2, sizes, np.zeros((2, 6, 1))], axis=-1)
    own = pooled(features, oriented, (8, 16), pool_size=3)
    np.testing.assert_allclose(own, pooled(features, straight, (8, 16), pool_size=3), atol=2e-5)


def test_samples_lie_on_a_grid_that_is_turned(rng):
    """A plain loop over bins and samples, with the bilinear formula written out."""
    features = rng.normal(size=(1, 9, 11, 1))
    cx, cy, w, h, angle = roi = (20.0, 18.0, 24.0, 10.0, 0.6)
    stride, pool_size, samples = 4, 3, 2
    expected = np.zeros((pool_size, pool_size))
    for row in range(pool_size * samples):
        for column in range(pool_size * samples):
            u = ((column + 0.5) / (pool_size * samples) - 0.5) * w
            v = ((row + 0.5) / (pool_size * samples) - 0.5) * h
            x = (cx + u * math.cos(angle) - v * math.sin(angle)) / stride - 0.5
            y = (cy + u * math.sin(angle) + v * math.cos(angle)) / stride - 0.5
            left, above = math.floor(x), math.floor(y)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = (1 - abs(y - above - i)) * (1 - abs(x - left - j))
                value = share * features[0, above + i, left + j, 0]
                expected[row // samples, column // samples] += value / samples**2
    result = pooled([features], [[roi]], (stride,), pool_size=pool_size, samples=samples)
    np.testing.assert_allclose(result[0, 0, :, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_image_and_box_turned_together_give_the_same_features(rng, quarters):
    size = 12
    features = rng.normal(size=(1, size, size, 2))
    rois = np.array([[[6.2, 5.1, 6.0, 3.0, 0.4], [4.0, 7.0, 5.0, 4.0, -1.1]]])
    turned = rois.copy()
    for _ in range(quarters):  # from x to y: (x, y) goes to (size - y, x)
        turned[..., 0], turned[..., 1] = size - turned[..., 1], turned[..., 0].copy()
    turned[..., 4] += quarters * math.pi / 2
    own = pooled([np.rot90(features, -quarters, axes=(1, 2))], turned, pool_size=4)
    np.testing.assert_allclose(own, pooled([features], rois, pool_size=4), atol=2e-5)


def test_samples_far_outside_are_zero():
    result = pooled([np.ones((1, 4, 4, 1))], [[[50.0, 50.0, 4.0, 4.0, 0.3]]], pool_size=2)
    np.testing.assert_array_equal(result, 0.0)
