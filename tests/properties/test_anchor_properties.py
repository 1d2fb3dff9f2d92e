"""Any grid of anchors: how many, where and how large; and whom any of them answers for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes
from support import at_once

from frcnn.config.schema import AnchorConfig
from frcnn.ops import anchors
from frcnn.ops import boxes as box_ops
from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE, AnchorGenerator

sizes = st.lists(st.sampled_from([8.0, 16.0, 24.0, 100.0, 512.0]), min_size=1, max_size=3, unique=True)
ratios = st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=3, unique=True)
offsets = st.sampled_from([0.0, 0.25, 0.5])


def assert_is_base(cell, some_sizes, some_ratios):
    """The anchors around (0, 0), ratio by ratio and size by size, keep area, ratio and centre."""
    width, height = cell[:, 2] - cell[:, 0], cell[:, 3] - cell[:, 1]
    np.testing.assert_allclose(cell[:, :2] + cell[:, 2:], 0, atol=1e-3)
    areas = np.tile(np.square(some_sizes), len(some_ratios))
    np.testing.assert_allclose(width * height, areas, rtol=1e-4)
    np.testing.assert_allclose(height / width, np.repeat(some_ratios, len(some_sizes)), rtol=1e-4)


@given(sizes, ratios, st.integers(1, 6), st.integers(1, 6), st.sampled_from([4, 16, 23]), offsets)
def test_a_grid_has_every_anchor_of_every_cell_at_its_place(
    some_sizes, some_ratios, height, width, stride, offset
):
    base = anchors.base_anchors(some_sizes, some_ratios)
    assert_is_base(base, some_sizes, some_ratios)
    laid = np.asarray(anchors.grid(height, width, stride, 2 * stride, base, offset))
    assert laid.shape == (height * width * len(base), 4)
    laid = laid.reshape(height, width, len(base), 4)
    for row in range(height):
        for column in range(width):
            centre = [(column + offset) * 2 * stride, (row + offset) * stride] * 2
            np.testing.assert_allclose(laid[row, column] - centre, base, rtol=0, atol=1e-3)


@given(sizes, ratios, st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_a_pyramid_covers_inputs_of_any_size(some_sizes, some_ratios, height, width, size_per_level):
    strides = [4 * 2**level for level in range(len(some_sizes))] if size_per_level else [8, 16]
    config = AnchorConfig(
        sizes=tuple(some_sizes), ratios=tuple(some_ratios), size_per_level=size_per_level
    )
    laid, counts = AnchorGenerator(strides=strides, **vars(config))(height, width)
    laid = np.asarray(laid)
    assert len(laid) == sum(counts) and len(counts) == len(strides)
    centres = (laid[:, :2] + laid[:, 2:]) / 2
    assert (centres >= -1e-3).all() and (centres <= [width + 1e-3, height + 1e-3]).all()
    start = 0
    for level, (stride, count) in enumerate(zip(strides, counts)):
        own_sizes = [some_sizes[level]] if size_per_level else some_sizes
        a_cell = len(own_sizes) * len(some_ratios)
        assert count == -(-height // stride) * -(-width // stride) * a_cell
        first = laid[start : start + a_cell]
        assert_is_base(first - np.tile(centres[start], 2), own_sizes, some_ratios)
        start += count


# --- assignment ------------------------------------------------------------------------------

COUNT, BOXES = 20, 4
some_valid = st.lists(st.booleans(), min_size=BOXES, max_size=BOXES).map(np.array)
limits = st.tuples(st.integers(10, 45), st.integers(10, 45))
thresholds = st.sampled_from([(0.7, 0.3), (0.5, 0.5), (1.0, 0.0)])


def assign(grid, gt_boxes, valid, size, positive, negative):
    sizes = np.array([size], "float32")
    labels, matches = anchors.match_anchors(grid, gt_boxes[None], valid[None], sizes, positive, negative)
    return labels[0], matches[0]


@given(boxes(COUNT), boxes(BOXES, empty=True), some_valid, limits, thresholds)
def test_each_anchor_has_the_label_that_its_overlaps_give_it(grid, gt_boxes, valid, size, ious):
    labels, matches = assign(grid, gt_boxes, valid, size, *ious)
    centre = (grid[:, :2] + grid[:, 2:]) / 2
    inside = (centre[:, 0] < size[1]) & (centre[:, 1] < size[0])
    overlaps = np.asarray(at_once(box_ops.iou)(grid, gt_boxes)) * valid * inside[:, None]
    best, best_of_box = overlaps.max(axis=1), overlaps.max(axis=0)
    for label, match, row, its_best, is_inside in zip(labels, matches, overlaps, best, inside):
        is_best = ((row == best_of_box) & (row > 0)).any()
        positive = its_best >= np.float32(ious[0]) or is_best
        negative = its_best < np.float32(ious[1])
        expected = POSITIVE if positive else NEGATIVE if negative else IGNORED
        assert label == (expected if is_inside else IGNORED)
        assert row[match] == its_best
    # A box that any anchor touches is learnt from; padding never is.
    for box in np.flatnonzero(best_of_box > 0):
        assert (labels[overlaps[:, box] == best_of_box[box]] == POSITIVE).all()
    assert valid[matches[labels == POSITIVE]].all()


@given(boxes(COUNT), boxes(BOXES), some_valid, boxes(BOXES), thresholds)
def test_what_stands_in_the_padding_makes_no_difference(grid, gt_boxes, valid, others, ious):
    labels, matches = assign(grid, gt_boxes, valid, (40, 40), *ious)
    replaced = np.where(valid[:, None], gt_boxes, others)
    other_labels, other_matches = assign(grid, replaced, valid, (40, 40), *ious)
    np.testing.assert_array_equal(other_labels, labels)
    positive = labels == POSITIVE
    np.testing.assert_array_equal(other_matches[positive], matches[positive])
