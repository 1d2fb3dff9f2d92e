"""Anchor grids, and which ground-truth box each anchor answers for."""

import numpy as np
import pytest
from support import at_once

from frcnn.config.schema import AnchorConfig
from frcnn.errors import ConfigError
from frcnn.ops import anchors as anchor_ops
from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE


def array(*values):
    return np.array(values, "float32")


# --- the grid --------------------------------------------------------------------------------


def grid(height, width, stride, base, offset=0.5):
    """The anchors, numpy, of cells that are ``stride`` pixels high and wide, or (height, width)."""
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    sizes = {"height": height, "width": width, "stride_y": stride_y, "stride_x": stride_x}
    return np.asarray(at_once(anchor_ops.grid, **sizes, offset=offset)(base=base))


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


def test_corners_may_be_rounded():
    # 8x8 at a ratio of 2 is 5.66 x 11.31; half of that is rounded, and 0.5 to the even number.
    np.testing.assert_array_equal(
        anchor_ops.base_anchors([8, 5], [2, 1], rounded=True),
        [[-3, -6, 3, 6], [-2, -4, 2, 4], [-4, -4, 4, 4], [-2, -2, 2, 2]],
    )


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


def test_a_cell_need_not_be_square():
    np.testing.assert_array_equal(
        grid(2, 2, (10, 20), array([-1, -2, 1, 2])),
        [[9, 3, 11, 7], [29, 3, 31, 7], [9, 13, 11, 17], [29, 13, 31, 17]],
    )


def test_the_anchors_of_a_cell_stand_together():
    base = array([-1, -1, 1, 1], [-4, -2, 4, 2])
    anchors = grid(2, 2, 10, base)
    np.testing.assert_array_equal(anchors[:2], [[4, 4, 6, 6], [1, 3, 9, 7]])
    np.testing.assert_array_equal(anchors[4:6], [[4, 14, 6, 16], [1, 13, 9, 17]])
    assert anchors.shape == (8, 4)


# --- the pyramid -----------------------------------------------------------------------------


def anchor_generator(strides, height, width, **config):
    """Anchors, numpy, and the levels' counts."""
    anchors, counts = anchor_ops.AnchorGenerator(strides=strides, **vars(AnchorConfig(**config)))(
        height, width
    )
    return np.asarray(anchors), counts


def test_a_single_level_is_a_pyramid_of_one():
    settings = {"sizes": (24.0, 48.0), "ratios": (0.5, 2.0), "offset": 0.25}
    anchors, counts = anchor_generator((16,), 32, 48, **settings)
    base = anchor_ops.base_anchors(settings["sizes"], settings["ratios"])
    np.testing.assert_array_equal(anchors, grid(2, 3, 16, base, offset=0.25))
    assert counts == [2 * 3 * 4]


def test_levels_follow_each_other_from_the_finest_with_a_size_each_or_all():
    settings = {"ratios": (1.0,), "offset": 0.0}
    anchors, counts = anchor_generator(
        (16, 32), 32, 64, sizes=(10.0, 20.0), size_per_level=True, **settings
    )
    assert counts == [2 * 4, 1 * 2]
    np.testing.assert_array_equal(anchors[[0, 7]], [[-5, -5, 5, 5], [43, 11, 53, 21]])
    np.testing.assert_array_equal(anchors[8:], [[-10, -10, 10, 10], [22, -10, 42, 10]])
    anchors, counts = anchor_generator((16, 32), 32, 64, sizes=(10.0, 20.0), **settings)
    assert counts == [2 * 4 * 2, 1 * 2 * 2]
    np.testing.assert_array_equal(anchors[16:18], [[-5, -5, 5, 5], [-10, -10, 10, 10]])


@pytest.mark.parametrize(
    "height, rows, stride", [(192, 3, 64), (160, 3, 53), (96, 2, 48), (32, 1, 32), (224, 4, 56)]
)
def test_cells_that_stick_out_are_spread_over_the_input(height, rows, stride):
    """The pool level takes every second cell of stride 32, so that the last may be half outside."""
    anchors, counts = anchor_generator((64,), height, 128, sizes=(2.0,), ratios=(1.0,), offset=0.0)
    assert counts == [rows * 2]
    np.testing.assert_array_equal(anchors[::2, 1] + 1, np.arange(rows) * stride)
    np.testing.assert_array_equal(anchors[:2, 0] + 1, [0, 64])  # the other axis has its own stride


def test_a_size_for_each_level_or_an_error():
    with pytest.raises(ConfigError, match="anchors.sizes needs one size for each of 3 levels"):
        anchor_generator((8, 16, 32), 32, 32, sizes=(8.0, 16.0), size_per_level=True)


def test_pyramids_golden(golden):
    """The reference rounds the corners of its base anchors and has its centres at stride * i."""
    table, settings = golden("anchors"), {"offset": 0.0, "rounded": True}
    single, _ = anchor_generator((16,), 608, 800, sizes=(128.0, 256.0, 512.0), **settings)
    sizes = (32.0, 64.0, 128.0, 256.0, 512.0)
    levels, counts = anchor_generator(
        (4, 8, 16, 32, 64), 256, 320, sizes=sizes, size_per_level=True, **settings
    )
    for name, anchors in [("single_level", single), ("fpn", levels)]:
        assert len(anchors) == table[f"{name}_count"]
        np.testing.assert_array_equal(anchors[::37], table[f"{name}_every_37th"])
    assert counts == [3 * 64 * 80 // 4**level for level in range(5)]


# --- assignment ------------------------------------------------------------------------------

IMAGE = array([100, 100])


def assign(anchors, gt_boxes, gt_valid=None, image_sizes=IMAGE, **thresholds):
    """Labels and matches, numpy, of one image."""
    gt_boxes = np.reshape(np.asarray(gt_boxes, "float32"), (1, -1, 4))
    gt_valid = np.ones(gt_boxes.shape[:2], bool) if gt_valid is None else np.array([gt_valid])
    anchors = np.asarray(anchors, "float32")
    labels, matches = anchor_ops.match_anchors(anchors, gt_boxes, gt_valid, image_sizes, **thresholds)
    return labels[0], matches[0]


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
    labels, matches = anchor_ops.match_anchors(anchors, gt_boxes, gt_valid, image_sizes)
    for row in range(3):
        alone = assign(anchors, gt_boxes[row], gt_valid[row], image_sizes[row : row + 1])
        np.testing.assert_array_equal(labels[row], alone[0])
        np.testing.assert_array_equal(matches[row], alone[1])
    assert (labels == POSITIVE).any(axis=1).tolist() == [True, True, False]
    assert labels.dtype == matches.dtype == "int32"


@pytest.mark.parametrize("padding", [0, 4])
def test_assignment_golden(golden, padding):
    """Index of an anchor's box, -1 for background, -2 for neither; 608x800 pixels, 12 boxes."""
    table = golden("assignment")
    base = anchor_ops.base_anchors([128, 256, 512], [0.5, 1, 2], rounded=True)
    anchors = grid(38, 50, 16, base, offset=0)
    gt_boxes = np.pad(table["gt_boxes"], ((0, padding), (0, 0)))
    valid = np.arange(len(gt_boxes)) < len(table["gt_boxes"])
    labels, matches = assign(anchors, gt_boxes, valid, image_sizes=array([608, 800]))
    found = np.select([labels == POSITIVE, labels == NEGATIVE], [matches, -1], -2)
    np.testing.assert_array_equal(found, table["rpn_match"])
