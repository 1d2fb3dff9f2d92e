"""The matrix of rotation and shear against points worked out by hand, and where pixels go."""

import numpy as np

from frcnn.data.augmentation import affine
from frcnn.data.augmentation.example import Example


def example(image, boxes):
    boxes = np.array(boxes, "float32")
    count = len(boxes)
    return Example(image, boxes, np.arange(count), np.zeros(count, bool), np.ones(count, "float32"))


def test_a_quarter_turn_moves_pixels_exactly():
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype="uint8")
    turned = affine.warp(example(image, [[2, 3, 8, 5]]), affine.matrix((20, 20), 90, 0, 0))
    # From x to y: the point (x, y) goes to (20 - y, x).
    np.testing.assert_array_equal(turned.image, np.rot90(image, -1))
    np.testing.assert_allclose(turned.boxes, [[15, 2, 17, 8]], atol=1e-4)


def test_a_shear_moves_rows_by_their_distance_from_the_centre():
    matrix = affine.matrix((40, 20), 0, 45, 0)
    np.testing.assert_allclose(matrix @ [5, 10, 1], [5, 10])
    np.testing.assert_allclose(matrix @ [5, 13, 1], [8, 13])


def test_a_shear_comes_before_the_rotation():
    matrix = affine.matrix((0, 0), 90, 45, 0)
    np.testing.assert_allclose(matrix @ [0, 1, 1], [-1, 1], atol=1e-12)


def test_the_hull_of_a_rotated_square_is_larger_by_sine_and_cosine():
    image = np.zeros((100, 100, 3), "uint8")
    turned = affine.warp(example(image, [[30, 30, 70, 70]]), affine.matrix((100, 100), 30, 0, 0))
    half = 20 * (np.cos(np.pi / 6) + np.sin(np.pi / 6))
    np.testing.assert_allclose(turned.boxes, [[50 - half, 50 - half, 50 + half, 50 + half]], rtol=1e-5)


def test_a_vertical_flip_is_numpys():
    image = np.random.default_rng(0).integers(0, 256, (10, 6, 3), dtype="uint8")
    flipped = affine.flip_vertically(example(image, [[1, 2, 3, 5]]))
    np.testing.assert_array_equal(flipped.image, image[::-1])
    np.testing.assert_array_equal(flipped.boxes, [[1, 5, 3, 8]])
