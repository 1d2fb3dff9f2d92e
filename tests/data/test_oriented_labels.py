"""Oriented boxes in numpy: against the same geometry in ``frcnn.ops``, and by corners."""

import numpy as np
import pytest

from frcnn.data import oriented
from frcnn.ops import oriented_boxes

BOXES = np.array([[30, 20, 12, 6, 0.4], [10, 12, 5, 9, -1.2], [25, 25, 8, 8, 3.0]], "float32")


def test_corners_and_outer_boxes_are_those_of_the_network():
    np.testing.assert_allclose(oriented.corners(BOXES), oriented_boxes.corners(BOXES), rtol=1e-5)
    np.testing.assert_allclose(oriented.outer(BOXES), oriented_boxes.outer_boxes(BOXES), rtol=1e-5)


def test_axis_aligned_boxes_round_trip():
    boxes = np.array([[1, 2, 11, 32]], "float32")
    np.testing.assert_array_equal(oriented.outer(oriented.from_axis_aligned(boxes)), boxes)
    np.testing.assert_array_equal(oriented.outer(boxes), boxes)


@pytest.mark.parametrize("factors", [(2.0, 2.0), (0.5, 0.5)])
def test_stretched_boxes_have_stretched_corners(factors):
    own = oriented.corners(oriented.stretch(BOXES, np.array(factors, "float32")))
    np.testing.assert_allclose(own, oriented.corners(BOXES) * factors, rtol=1e-5)


def test_unequal_factors_move_centres_and_middles_of_sides():
    factors = np.array([1.01, 0.99], "float32")
    own, before = oriented.corners(oriented.stretch(BOXES, factors)), oriented.corners(BOXES)
    middles = 0.5 * (before[:, 1] + before[:, 2]) * factors
    np.testing.assert_allclose(0.5 * (own[:, 1] + own[:, 2]), middles, rtol=1e-5)


def test_flipped_boxes_have_flipped_corners():
    own = oriented.corners(oriented.flip(BOXES, 64))[:, ::-1]  # the order turns round
    expected = oriented.corners(BOXES)
    expected[..., 0] = 64 - expected[..., 0]
    np.testing.assert_allclose(np.roll(own, 2, axis=1), expected, rtol=1e-5)
