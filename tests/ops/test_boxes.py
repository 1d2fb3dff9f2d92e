"""Box geometry: worked by hand, counted in pixels, and against another implementation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from support import at_once

from frcnn.ops import boxes as box_ops
from frcnn.ops.boxes import HEAD_DELTA_WEIGHTS, RPN_DELTA_WEIGHTS

SLOW_IS_FINE = settings(deadline=None, max_examples=50)

coordinates = st.integers(0, 12)
pixel_boxes = st.tuples(coordinates, coordinates, coordinates, coordinates)
# A corner and a size, so that the box has an area.
any_boxes = st.tuples(
    st.floats(-500, 500), st.floats(-500, 500), st.floats(1, 500), st.floats(1, 500)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def array(*boxes):
    return np.array(boxes, "float32")


def assert_near(boxes, expected):
    """Equal to 1e-5 of each box's largest number, which is what float32 corners can promise."""
    boxes, expected = ops.convert_to_numpy(boxes), np.asarray(expected)
    scale = np.maximum(np.abs(expected).max(axis=-1, keepdims=True), 1.0)
    np.testing.assert_allclose(boxes / scale, expected / scale, rtol=0, atol=1e-5)


# --- area and IoU ----------------------------------------------------------------------------


def iou(boxes, others):
    return np.asarray(at_once(box_ops.iou)(boxes, others))


def test_area_is_half_open():
    # Width 3 - 1 = 2 and height 5 - 2 = 3, with no pixel added. An inverted box has no area.
    boxes = array([1, 2, 3, 5], [0, 0, 0, 7], [4, 4, 1, 1], [4, 0, 1, 3])
    np.testing.assert_array_equal(box_ops.area(boxes), [6, 0, 0, 0])


@pytest.mark.parametrize(
    "box, other, expected",
    [
        # Overlap 1x1; union 4 + 4 - 1.
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7),
        # One within the other: 4 of 16.
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4),
        # Half of one: 8 of 16.
        ([0, 0, 4, 4], [0, 0, 4, 2], 1 / 2),
        ([3, 5, 8, 13], [3, 5, 8, 13], 1),
        # Neighbours share an edge but no area.
        ([0, 0, 2, 2], [2, 0, 4, 2], 0),
        ([0, 0, 2, 2], [5, 5, 9, 9], 0),
        # Empty and inverted boxes overlap nothing, not even themselves.
        ([1, 1, 1, 1], [1, 1, 1, 1], 0),
        ([0, 0, 4, 4], [3, 3, 1, 1], 0),
        ([3, 3, 1, 1], [3, 3, 1, 1], 0),
    ],
)
def test_iou_by_hand(box, other, expected):
    np.testing.assert_allclose(iou(array(box), array(other)), [[expected]], rtol=1e-6)


@SLOW_IS_FINE
@given(pixel_boxes, pixel_boxes)
def test_iou_is_what_one_counts_in_pixels(box, other):
    """Two boxes with whole corners, painted: pixels in both, over pixels in either."""

    def paint(x1, y1, x2, y2):
        canvas = np.zeros((12, 12), bool)
        canvas[y1:y2, x1:x2] = True
        return canvas

    both, either = paint(*box) & paint(*other), paint(*box) | paint(*other)
    expected = both.sum() / max(either.sum(), 1)
    np.testing.assert_allclose(iou(array(box), array(other)), [[expected]], rtol=1e-6)


def test_iou_takes_any_leading_shape():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 50, (2, 3, 7, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 50, corners.shape)], -1).astype("float32")
    one, other = boxes[:, :, :4], boxes[:, :, 4:]
    overlaps = iou(one, other)
    assert overlaps.shape == (2, 3, 4, 3)
    np.testing.assert_allclose(overlaps[1, 2], iou(one[1, 2], other[1, 2]), rtol=1e-6)
    # One set of boxes against a batch of sets, as anchors against the ground truth of each image.
    np.testing.assert_allclose(iou(one[1], other[1, 2])[0], iou(one[1, 0], other[1, 2]))
    np.testing.assert_allclose(np.swapaxes(overlaps, -1, -2), iou(other, one), rtol=1e-6)


def test_iou_golden(golden):
    table = golden("nms")
    overlaps = iou(table["boxes"], table["others"][: table["iou"].shape[1]])
    np.testing.assert_allclose(overlaps, table["iou"], rtol=1e-5, atol=1e-7)


# --- clip ------------------------------------------------------------------------------------


def test_clip_moves_what_sticks_out_onto_the_edge():
    # Height 10, width 20 for one image, 30 x 5 for the other: y has the first number, x the second.
    boxes = array([-5, -1, 25, 15], [3, 4, 5, 6], [21, 12, 30, 30])
    clipped = box_ops.clip(np.stack([boxes, boxes]), array([10, 20], [30, 5]))
    np.testing.assert_array_equal(
        clipped,
        [
            [[0, 0, 20, 10], [3, 4, 5, 6], [20, 10, 20, 10]],  # the last is outside: nothing is left
            [[0, 0, 5, 15], [3, 4, 5, 6], [5, 12, 5, 30]],
        ],
    )


# --- encode and decode -----------------------------------------------------------------------

# Reference: centre (5, 10), 10 wide and 20 high. Box: centre (15, 15), 20 wide and 10 high. So it
# lies one reference width to the right, a quarter of the reference's height below, is twice as wide and
# half as high.
REFERENCE, BOX = [0, 0, 10, 20], [5, 10, 25, 20]
DELTAS = [1.0, 0.25, math.log(2), -math.log(2)]


def test_encode_and_decode_by_hand():
    assert_near(box_ops.encode(array(BOX), array(REFERENCE)), [DELTAS])
    assert_near(box_ops.decode(array(DELTAS), array(REFERENCE)), [BOX])


def test_the_weights_of_the_head_multiply():
    weighed = np.multiply(DELTAS, [10, 10, 5, 5])
    assert_near(box_ops.encode(array(BOX), array(REFERENCE), HEAD_DELTA_WEIGHTS), [weighed])
    assert_near(box_ops.decode(array(weighed), array(REFERENCE), HEAD_DELTA_WEIGHTS), [BOX])


def test_no_deltas_leave_a_box_as_it_is():
    np.testing.assert_array_equal(box_ops.decode(np.zeros((1, 4), "float32"), array(BOX)), [BOX])


@SLOW_IS_FINE
@given(any_boxes, any_boxes, st.sampled_from([RPN_DELTA_WEIGHTS, HEAD_DELTA_WEIGHTS]))
def test_decode_undoes_encode(box, reference, weights):
    # As long as the box is not 62.5 times as large as its reference: that is clipped.
    box, reference = array(box), array(reference)
    size = (box[:, 2:] - box[:, :2]) / (reference[:, 2:] - reference[:, :2])
    back = box_ops.decode(box_ops.encode(box, reference, weights), reference, weights)
    if size.max() <= 62:
        # Corners come from a centre and a size, both of which are rounded.
        np.testing.assert_allclose(
            back, box, rtol=0, atol=1e-5 * (np.abs(box) + np.abs(reference)).max()
        )


def test_growth_is_clipped():
    """e^1000 would be infinite; a box grows at most 1000 / 16 = 62.5 times, and shrinks freely."""
    grown = box_ops.decode(array([0, 0, 1000, math.log(2)]), array([0, 0, 16, 16]))
    assert_near(grown, [[8 - 500, -8, 8 + 500, 24]])
    shrunk = box_ops.decode(array([0, 0, -10, 0]), array([0, 0, 16, 16]))
    assert_near(shrunk, [[8 - 8 * math.exp(-10), 0, 8 + 8 * math.exp(-10), 16]])
    # With weights it is the growth that is clipped, not the delta.
    grown = box_ops.decode(array([0, 0, 1000, 0]), array([0, 0, 16, 16]), HEAD_DELTA_WEIGHTS)
    assert_near(grown, [[8 - 500, 0, 8 + 500, 16]])


def test_empty_boxes_have_finite_deltas():
    """Padding is encoded like everything else and masked later: a NaN times 0 would remain a NaN."""
    empty, box = array([0, 0, 0, 0]), array(BOX)
    for one, other in [(empty, box), (box, empty), (empty, empty)]:
        assert np.all(np.isfinite(ops.convert_to_numpy(box_ops.encode(one, other))))


@pytest.mark.parametrize("name, weights", [("rpn", (1, 1, 1, 1)), ("head", (10, 10, 5, 5))])
def test_coder_golden(golden, name, weights):
    table = golden("box_coder")
    encoded = box_ops.encode(table["targets"], table["proposals"], weights)
    np.testing.assert_allclose(encoded, table[f"encode_{name}"], rtol=1e-5, atol=1e-5)
    deltas = table["deltas"] * (3 if name == "head" else 1)
    assert_near(box_ops.decode(deltas, table["proposals"], weights), table[f"decode_{name}"])
