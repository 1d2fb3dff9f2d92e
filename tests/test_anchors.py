"""Anchor grids, and which ground-truth box each anchor answers for."""

import numpy as np
import pytest
from support import at_once

from frcnn import anchors as anchor_ops
from frcnn.anchors import IGNORED, NEGATIVE, POSITIVE


def array(*values):
    return np.array(values, "float32")


# --- the grid --------------------------------------------------------------------------------


def grid(height, width, stride, base, offset=0.5):
    run = at_once(anchor_ops.grid, height=height, width=width, stride=stride, offset=offset)
    return np.asarray(run(base=base))


def test_base_anchors_by_hand():
    # A ratio is height over width, and the area stays: 8x8, then 4x16, each at two sizes.
    base = anchor_ops.base_anchors([8, 16], [1, 4])
    np.testing.assert_allclose(
        base,
        [[-4, -4, 4, 4], [-8, -8, 8, 8], [-2, -8, 2, 8], [-4, -16, 4, 16]],
    )
    assert base.dtype == np.float32


def test_the_paper_has_nine():
    base = anchor_ops.base_anchors([128, 256, 512], [0.5, 1, 2])
    width, height = base[:, 2] - base[:, 0], base[:, 3] - base[:, 1]
    np.testing.assert_allclose(width * height, [128**2, 256**2, 512**2] * 3, rtol=1e-6)
    np.testing.assert_allclose(height / width, [0.5] * 3 + [1] * 3 + [2] * 3, rtol=1e-6)
    np.testing.assert_allclose(base[:, :2], -base[:, 2:])  # centred on the origin


def test_grid_of_two_rows_and_three_columns():
    base = array([-8, -8, 8, 8])
    # With offset 0.5 an anchor as large as the stride is just its cell's patch of the image.
    np.testing.assert_array_equal(
        grid(2, 3, 16, base, offset=0.5),
        [
            [0, 0, 16, 16], [16, 0, 32, 16], [32, 0, 48, 16],
            [0, 16, 16, 32], [16, 16, 32, 32], [32, 16, 48, 32],
        ],
    )  # fmt: skip
    # With offset 0 the first is centred on the image's corner.
    np.testing.assert_array_equal(
        grid(2, 3, 16, base, offset=0),
        [
            [-8, -8, 8, 8], [8, -8, 24, 8], [24, -8, 40, 8],
            [-8, 8, 8, 24], [8, 8, 24, 24], [24, 8, 40, 24],
        ],
    )  # fmt: skip


def test_the_anchors_of_a_cell_stand_together():
    base = array([-1, -1, 1, 1], [-4, -2, 4, 2])
    anchors = grid(2, 2, 10, base)
    np.testing.assert_array_equal(anchors[:2], [[4, 4, 6, 6], [1, 3, 9, 7]])
    np.testing.assert_array_equal(anchors[4:6], [[4, 14, 6, 16], [1, 13, 9, 17]])
    assert anchors.shape == (8, 4)


def test_grid_golden(golden):
    """The reference rounds the corners of its base anchors and has its centres at stride * i."""
    table = golden("anchors")

    def rounded(*sizes):
        return np.round(anchor_ops.base_anchors(sizes, [0.5, 1, 2]))

    single = grid(38, 50, 16, rounded(128, 256, 512), offset=0)
    # A pyramid is a grid a level: twice the stride, half the cells, twice the size.
    levels = [grid(256 // s, 320 // s, s, rounded(8 * s), offset=0) for s in (4, 8, 16, 32, 64)]
    for name, anchors in [("single_level", single), ("fpn", np.concatenate(levels))]:
        assert len(anchors) == table[f"{name}_count"]
        np.testing.assert_array_equal(anchors[::37], table[f"{name}_every_37th"])


# --- assignment ------------------------------------------------------------------------------

IMAGE = array([100, 100])


def assign(anchors, gt_boxes, gt_valid=None, image_sizes=IMAGE, **thresholds):
    """Labels and matches, numpy, of one image."""
    gt_boxes = np.reshape(np.asarray(gt_boxes, "float32"), (1, -1, 4))
    gt_valid = np.ones(gt_boxes.shape[:2], bool) if gt_valid is None else np.array([gt_valid])
    run = at_once(anchor_ops.assign, **thresholds)
    labels, matches = run(np.asarray(anchors, "float32"), gt_boxes, gt_valid, image_sizes)
    return np.asarray(labels)[0], np.asarray(matches)[0]


def test_thresholds_by_hand():
    """Anchors of 10 x h in one corner, against a box of 10 x 10: the IoU is h / 10."""
    anchors = [[0, 0, 10, height] for height in (9, 7, 6.9, 3, 2.9, 1)] + [[50, 50, 60, 60]]
    labels, matches = assign(anchors, [[0, 0, 10, 10]])
    # At least 0.7 is object; below 0.3 is background; what lies between is neither.
    assert labels.tolist() == [POSITIVE, POSITIVE, IGNORED, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE]
    assert set(matches) == {0}
    labels, _ = assign(anchors, [[0, 0, 10, 10]], positive_iou=0.95, negative_iou=0.65)
    # 0.9 is not enough now, but it is the best that the box gets.
    assert labels.tolist() == [POSITIVE, IGNORED, IGNORED, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE]


def test_the_best_anchor_of_a_box_is_positive_however_low_and_so_is_one_that_ties():
    # Each overlaps the box by a quarter of itself, 5x5; together with the box that is 25 / 175.
    anchors = [[0, 0, 10, 10], [10, 10, 20, 20], [4, 4, 5.5, 10], [30, 30, 40, 40]]
    labels, _ = assign(anchors, [[5, 5, 15, 15]])
    assert labels.tolist() == [POSITIVE, POSITIVE, NEGATIVE, NEGATIVE]


def test_an_anchor_answers_for_the_box_that_it_overlaps_most():
    """Also when it is positive only because another box found nothing better."""
    large, small = [0, 0, 10, 10], [0, 0, 10, 2]
    anchors = [[0, 0, 10, 8], [0, 0, 10, 9]]
    labels, matches = assign(anchors, [small, large])
    # IoU with the small box: 2/8 and 2/9; with the large one: 0.8 and 0.9.
    assert labels.tolist() == [POSITIVE, POSITIVE]
    assert matches.tolist() == [1, 1]


def test_a_box_that_no_anchor_touches_makes_nothing_positive():
    labels, _ = assign([[0, 0, 10, 10], [20, 20, 30, 30]], [[60, 60, 70, 70]])
    assert labels.tolist() == [NEGATIVE, NEGATIVE]


def test_without_a_box_all_is_background():
    labels, _ = assign([[0, 0, 10, 10], [20, 20, 30, 30]], np.zeros((2, 4)), [False, False])
    assert labels.tolist() == [NEGATIVE, NEGATIVE]


def test_padding_boxes_do_not_count_whatever_they_hold():
    anchors = [[0, 0, 10, 10], [20, 20, 30, 30]]
    labels, matches = assign(anchors, [anchors[0], anchors[1]], [False, True])
    assert labels.tolist() == [NEGATIVE, POSITIVE]
    assert matches[1] == 1


# Four cells of 16 pixels in a row, an anchor on each, of which the image has the first two; the rest is
# the padding of its batch.
ROW = grid(1, 4, 16, array([-8, -8, 8, 8]))


def test_anchors_centred_in_the_padding_are_ignored():
    labels, _ = assign(ROW, [[0, 0, 16, 16]], image_sizes=array([16, 32]))
    assert labels.tolist() == [POSITIVE, NEGATIVE, IGNORED, IGNORED]
    # The centre decides: 40 is outside an image 40 wide, half-open as everything, and inside 41.
    labels, _ = assign(ROW, [[0, 0, 16, 16]], image_sizes=array([16, 40]))
    assert labels.tolist() == [POSITIVE, NEGATIVE, IGNORED, IGNORED]
    labels, _ = assign(ROW, [[0, 0, 16, 16]], image_sizes=array([16, 41]))
    assert labels.tolist() == [POSITIVE, NEGATIVE, NEGATIVE, IGNORED]
    # The same down a column.
    labels, _ = assign(ROW[:, [1, 0, 3, 2]], [[0, 0, 16, 16]], image_sizes=array([32, 16]))
    assert labels.tolist() == [POSITIVE, NEGATIVE, IGNORED, IGNORED]


def test_an_anchor_in_the_padding_takes_no_box_from_the_others():
    """A box at the right edge of its image may be nearest to an anchor beyond that edge."""
    # The second anchor (16 to 32) has 4 of the box's columns, the third (32 to 48) has 6.
    box = [[28, 0, 38, 16]]
    labels, _ = assign(ROW, box, image_sizes=array([16, 64]))
    assert labels.tolist() == [NEGATIVE, NEGATIVE, POSITIVE, NEGATIVE]
    labels, _ = assign(ROW, box, image_sizes=array([16, 38]))
    assert labels.tolist() == [NEGATIVE, POSITIVE, IGNORED, IGNORED]


def test_a_batch_is_its_images_one_by_one():
    rng = np.random.default_rng(1)
    anchors = grid(6, 8, 16, anchor_ops.base_anchors([24, 48], [0.5, 1, 2]))
    corner = rng.uniform(0, 60, (3, 5, 2))
    gt_boxes = np.concatenate([corner, corner + rng.uniform(10, 60, corner.shape)], -1).astype("float32")
    gt_valid = np.arange(5) < np.array([[5], [2], [0]])
    image_sizes = array([96, 128], [80, 128], [96, 70])
    labels, matches = at_once(anchor_ops.assign)(anchors, gt_boxes, gt_valid, image_sizes)
    for row in range(3):
        alone = assign(anchors, gt_boxes[row], gt_valid[row], image_sizes[row : row + 1])
        np.testing.assert_array_equal(labels[row], alone[0])
        np.testing.assert_array_equal(matches[row], alone[1])
    assert (np.asarray(labels) == POSITIVE).any(axis=1).tolist() == [True, True, False]
    assert str(np.asarray(labels).dtype) == str(np.asarray(matches).dtype) == "int32"


@pytest.mark.parametrize("padding", [0, 4])
def test_assignment_golden(golden, padding):
    """Index of an anchor's box, -1 for background, -2 for neither; 608x800 pixels, 12 boxes."""
    table = golden("assignment")
    base = np.round(anchor_ops.base_anchors([128, 256, 512], [0.5, 1, 2]))
    anchors = grid(38, 50, 16, base, offset=0)
    gt_boxes = np.pad(table["gt_boxes"], ((0, padding), (0, 0)))
    valid = np.arange(len(gt_boxes)) < len(table["gt_boxes"])
    labels, matches = assign(anchors, gt_boxes, valid, image_sizes=array([608, 800]))
    found = np.select([labels == POSITIVE, labels == NEGATIVE], [matches, -1], -2)
    np.testing.assert_array_equal(found, table["rpn_match"])
