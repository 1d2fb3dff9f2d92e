"""What holds for the overlap of any boxes, and for the coder's deltas of any box and reference."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from strategies import CANVAS, boxes
from support import at_once

from frcnn.ops import boxes as box_ops
from frcnn.ops.boxes import BBOX_XFORM_CLIP, HEAD_DELTA_WEIGHTS, RPN_DELTA_WEIGHTS

N, M = 6, 5
weights = st.sampled_from([RPN_DELTA_WEIGHTS, HEAD_DELTA_WEIGHTS])
shifts = st.tuples(st.integers(-500, 500), st.integers(-500, 500)).map(
    lambda xy: np.array(xy * 2, "float32")
)


def iou(some, others):
    return np.asarray(at_once(box_ops.iou)(some, others))


def encode(some, references, delta_weights):
    return np.asarray(at_once(box_ops.encode, weights=delta_weights)(some, references))


def decode(deltas, references, delta_weights):
    return np.asarray(at_once(box_ops.decode, weights=delta_weights)(deltas, references))


def turned(some):
    """The boxes with x and y exchanged."""
    return some[:, [1, 0, 3, 2]]


@given(boxes(N, empty=True), boxes(M, empty=True))
def test_iou_is_a_share_and_symmetric(some, others):
    found = iou(some, others)
    assert found.shape == (N, M) and (found >= 0).all() and (found <= 1).all()
    np.testing.assert_array_equal(found, iou(others, some).T)


@given(boxes(N, empty=True))
def test_only_boxes_with_area_overlap_and_they_themselves_wholly(some):
    has_area = (some[:, 2] > some[:, 0]) & (some[:, 3] > some[:, 1])
    found = iou(some, some)
    np.testing.assert_array_equal(np.diagonal(found), has_area)
    assert (found[~has_area] == 0).all()
    equal = (some[:, None] == some[None]).all(axis=-1)
    np.testing.assert_array_equal(found == 1, equal & has_area)


@given(boxes(N, empty=True), boxes(M, empty=True), shifts, st.sampled_from([0.25, 2.0, 16.0]))
def test_iou_does_not_depend_on_place_scale_or_axis(some, others, shift, scale):
    found = iou(some, others)
    np.testing.assert_array_equal(iou(some + shift, others + shift), found)
    np.testing.assert_array_equal(iou(some * np.float32(scale), others * np.float32(scale)), found)
    np.testing.assert_array_equal(iou(turned(some), turned(others)), found)


@given(boxes(N, empty=True), shifts, st.integers(1, CANVAS), st.integers(1, CANVAS))
def test_clipping_leaves_what_is_inside_and_no_more(some, shift, height, width):
    some, size = some + shift, np.array([[height, width]], "float32")
    clipped = np.asarray(box_ops.clip(some[None], size))[0]
    frame = np.array([[0, 0, width, height]], "float32")
    assert (clipped >= 0).all() and (clipped <= frame[:, [2, 3, 2, 3]]).all()
    np.testing.assert_array_equal(np.asarray(box_ops.clip(clipped[None], size))[0], clipped)
    # The area that is left is that of the part inside.
    inside = np.maximum(np.minimum(some[:, 2:], frame[:, 2:]) - np.maximum(some[:, :2], 0), 0)
    np.testing.assert_array_equal(box_ops.area(clipped), inside.prod(axis=-1))


@given(boxes(N), boxes(N), weights)
def test_decoding_undoes_encoding(some, references, delta_weights):
    back = decode(encode(some, references, delta_weights), references, delta_weights)
    np.testing.assert_allclose(back, some, rtol=0, atol=1e-3)


# Within what decoding does not clip, and no further than a few widths off.
some_deltas = arrays.arrays(
    "float32", (N, 4), elements=st.floats(-3, 3, width=32), fill=st.nothing()
).filter(lambda deltas: deltas[:, 2:].max() < BBOX_XFORM_CLIP)


@given(some_deltas, boxes(N), weights)
def test_encoding_undoes_decoding(deltas, references, delta_weights):
    deltas = deltas * np.array(delta_weights, "float32")
    back = encode(decode(deltas, references, delta_weights), references, delta_weights)
    # A corner is known to float32's 1e-5 pixels, of boxes as small as e^-3 pixels.
    np.testing.assert_allclose(back, deltas, rtol=0, atol=1e-2)


@given(boxes(N), boxes(N), shifts, st.sampled_from([0.25, 2.0, 16.0]), weights)
def test_deltas_do_not_depend_on_place_or_scale(some, references, shift, scale, delta_weights):
    deltas = encode(some, references, delta_weights)
    moved = encode(some + shift, references + shift, delta_weights)
    np.testing.assert_allclose(moved, deltas, rtol=0, atol=1e-3)
    scale = np.float32(scale)
    np.testing.assert_allclose(
        encode(some * scale, references * scale, delta_weights), deltas, atol=1e-4
    )


@given(boxes(N), boxes(N), weights)
def test_turning_boxes_turns_their_deltas(some, references, delta_weights):
    deltas = encode(some, references, delta_weights)
    exchanged = encode(turned(some), turned(references), delta_weights)
    np.testing.assert_allclose(exchanged, deltas[:, [1, 0, 3, 2]], rtol=0, atol=1e-5)


@given(arrays.arrays("float32", (N, 4), elements=st.floats(-1e4, 1e4, width=32)), boxes(N), weights)
def test_no_delta_makes_a_box_without_end(deltas, references, delta_weights):
    made = decode(deltas, references, delta_weights)
    size = references[:, 2:] - references[:, :2]
    assert np.isfinite(made).all()
    grown = made[:, 2:] - made[:, :2]
    # Far from the origin corners are rounded to a part in 10^7 of where they are.
    slack = 1e-6 * np.abs(made).max() + 1e-3
    assert (grown <= size * 62.5 + slack).all() and (grown >= -slack).all()
