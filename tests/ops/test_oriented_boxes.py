"""Oriented boxes: corners and deltas by hand, and round trips over random boxes."""

import math

import numpy as np
import pytest
from keras import ops

from frcnn.data.oriented import from_axis_aligned
from frcnn.ops import boxes as box_ops
from frcnn.ops import oriented_boxes


def random_boxes(count, seed=0, smallest=2.0):
    """Return (count, 5) float32 oriented boxes of all angles and proportions."""
    rng = np.random.default_rng(seed)
    parts = rng.uniform(0, 100, (count, 2)), rng.uniform(smallest, 60, (count, 2))
    return np.concatenate([*parts, rng.uniform(-4, 4, (count, 1))], axis=1).astype("float32")


def random_anchors(count, seed=1):
    """Return (count, 4) float32 axis-aligned boxes."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 80, (count, 2))], axis=1).astype("float32")


def same_rectangles(boxes, others, atol):
    """Hold the sets of corners of two (N, 5) against each other."""
    points, other_points = (np.asarray(oriented_boxes.corners(each)) for each in (boxes, others))
    distances = np.linalg.norm(points[:, :, None] - other_points[:, None], axis=-1)
    assert distances.min(axis=1).max() <= atol
    assert distances.min(axis=2).max() <= atol


def test_corners_by_hand():
    # A quarter turn from x to y: the side of 4 runs downwards.
    points = np.asarray(
        oriented_boxes.corners(np.array([[10.0, 20.0, 4.0, 2.0, math.pi / 2]], "float32"))
    )
    np.testing.assert_allclose(points[0], [[11, 18], [11, 22], [9, 22], [9, 18]], atol=1e-5)


def test_the_canonical_form_is_the_same_rectangle():
    boxes = random_boxes(500)
    own = np.asarray(oriented_boxes.canonical(boxes))
    same_rectangles(own, boxes, 1e-4)
    assert np.all(own[:, 2] >= own[:, 3])
    assert np.all((own[:, 4] >= -math.pi / 2) & (own[:, 4] < math.pi / 2 + 1e-6))


def test_the_outer_box_touches_all_corners():
    outer = np.asarray(oriented_boxes.outer_boxes(np.array([[0, 0, 2, 2, math.pi / 4]], "float32")))
    np.testing.assert_allclose(outer, [[-(2**0.5), -(2**0.5), 2**0.5, 2**0.5]], rtol=1e-6)


def test_midpoint_offsets_by_hand():
    # A square of diagonal 20 on its tip: top vertex in the middle, rightmost one in the middle.
    tip = np.array([[50, 50, 200**0.5, 200**0.5, math.pi / 4]], "float32")
    anchor = np.array([[30, 40, 50, 60]], "float32")
    deltas = np.asarray(oriented_boxes.encode_midpoints(tip, anchor))
    np.testing.assert_allclose(deltas, [[0.5, 0, 0, 0, 0, 0]], atol=1e-5)
    # Two thirds of the way along the upper side, two thirds down the right side: half a right angle
    # more, and the side from the top vertex is twice as long.
    slanted = np.array([[0, 0, 2 * 5**0.5, 5**0.5, math.atan(0.5)]], "float32")
    deltas = np.asarray(
        oriented_boxes.encode_midpoints(slanted, np.array([[-2.5, -2, 2.5, 2]], "float32"))
    )
    outer = np.asarray(oriented_boxes.outer_boxes(slanted))
    np.testing.assert_allclose(outer, [[-2.5, -2, 2.5, 2]], rtol=1e-5)
    np.testing.assert_allclose(deltas[0, 4:], [2 * (-1.5 / 5), 2 * 0.0], atol=1e-5)


def test_an_axis_aligned_box_has_midpoints_of_a_half():
    boxes, anchors = random_anchors(100), random_anchors(100, seed=5)
    deltas = oriented_boxes.encode_midpoints(from_axis_aligned(boxes), anchors)
    np.testing.assert_allclose(deltas[:, :4], box_ops.encode(boxes, anchors), atol=1e-4)
    np.testing.assert_allclose(deltas[:, 4:], 1.0, atol=1e-4)  # 0.5, times the weight


def test_midpoint_offsets_round_trip():
    boxes, anchors = random_boxes(2000), random_anchors(2000)
    deltas = oriented_boxes.encode_midpoints(boxes, anchors)
    assert np.abs(np.asarray(deltas)[:, 4:]).max() <= 1.0 + 1e-5
    # A box that counts as axis-aligned loses its tilt.
    atol = oriented_boxes.AXIS_ALIGNED
    same_rectangles(oriented_boxes.decode_midpoints(deltas, anchors), boxes, atol)


def test_midpoint_offsets_of_boxes_that_are_turned_a_little():
    boxes, anchors = random_boxes(2000, seed=2, smallest=1.0), random_anchors(2000)
    boxes[:, 4] = np.random.default_rng(3).normal(0, 0.01, 2000)
    deltas = oriented_boxes.encode_midpoints(boxes, anchors)
    atol = oriented_boxes.AXIS_ALIGNED
    same_rectangles(oriented_boxes.decode_midpoints(deltas, anchors), boxes, atol)


def test_any_six_numbers_give_a_rectangle():
    deltas = np.random.default_rng(0).normal(0, 2, (500, 6)).astype("float32")
    boxes = np.asarray(oriented_boxes.decode_midpoints(deltas, random_anchors(500)))
    assert np.all(np.isfinite(boxes)) and np.all(boxes[:, 2] >= boxes[:, 3])


def test_the_heads_deltas_round_trip_and_turn_little():
    boxes, references = random_boxes(2000), random_boxes(2000, seed=1)
    deltas = oriented_boxes.encode(boxes, references)
    same_rectangles(oriented_boxes.decode(deltas, references), boxes, 2e-3)
    turn = np.abs(np.asarray(deltas)[:, 4]) / oriented_boxes.TURN_WEIGHT
    assert turn.max() <= math.pi / 4 + 1e-5


@pytest.mark.parametrize("turn", [math.pi / 2, math.pi, -math.pi / 2])
def test_the_heads_deltas_do_not_depend_on_how_a_box_is_described(turn):
    boxes, references = random_boxes(200), random_boxes(200, seed=1)
    swap = abs(turn) < 2
    again = boxes[:, [0, 1, 3, 2, 4]] if swap else boxes.copy()
    again[:, 4] += turn
    own, other = (np.asarray(oriented_boxes.encode(each, references)) for each in (boxes, again))
    np.testing.assert_allclose(own, other, atol=2e-3)


def test_deltas_are_measured_in_the_frame_of_the_reference():
    reference = np.array([[10, 10, 8, 4, math.pi / 2]], "float32")
    moved = np.array([[10, 14, 8, 4, math.pi / 2]], "float32")  # by 4 along the side of 8
    deltas = np.asarray(oriented_boxes.encode(moved, reference, weights=(1,) * 4))
    np.testing.assert_allclose(deltas, [[0.5, 0, 0, 0, 0]], atol=1e-6)


def test_padding_gives_finite_deltas():
    empty = np.zeros((3, 5), "float32")
    for deltas in (
        oriented_boxes.encode(empty, empty),
        oriented_boxes.encode_midpoints(empty, np.zeros((3, 4), "float32")),
    ):
        assert bool(ops.all(ops.isfinite(deltas)))
