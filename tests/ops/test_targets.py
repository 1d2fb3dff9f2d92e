"""The layout of what the losses are given, and that it is what the boxes say."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from frcnn.config.schema import AnchorConfig, RpnConfig
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.ops import anchors as anchor_ops
from frcnn.ops import boxes as box_ops
from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE
from frcnn.ops.targets import roi_targets, rpn_targets


def test_rpn_targets_by_hand():
    """One image of two cells with two anchors each; three anchors are sampled, one of them positive."""
    anchors = np.array([[0, 0, 4, 4], [0, 0, 8, 8], [8, 0, 12, 4], [8, 0, 16, 8]], "float32")
    gt_boxes = np.array([[[50, 50, 60, 60], [2, 2, 10, 18]]], "float32")
    labels = np.array([[NEGATIVE, POSITIVE, IGNORED, NEGATIVE]], "int32")
    matches = np.array([[0, 1, 1, 0]], "int32")
    y_class, y_regress = rpn_targets(anchors, labels, matches, gt_boxes, num_anchors=2)
    # A cell's row: valid of its two anchors, then their labels.
    np.testing.assert_array_equal(y_class, [[[1, 1, 0, 1], [0, 1, 0, 0]]])
    # The positive anchor is 8 x 8 around (4, 4), its box 8 x 16 around (6, 10).
    deltas = [2 / 8, 6 / 8, math.log(8 / 8), math.log(16 / 8)]
    # A cell's row: the mask of both anchors' deltas, 1 / 3 where positive, then the deltas.
    np.testing.assert_allclose(
        y_regress,
        [[[0] * 4 + [1 / 3] * 4 + [0] * 4 + deltas, [0] * 16]],
        rtol=1e-6,
    )


def test_roi_targets_by_hand():
    """Three object classes and background; a positive of class 1, a background RoI and padding."""
    rois = np.array([[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 0, 0]]], "float32")
    gt_boxes = np.array([[[0, 0, 0, 0], [5, 0, 15, 20]]], "float32")
    labels = np.array([[1, -1, -2]], "int32")
    matches = np.array([[1, 0, 0]], "int32")
    y_class, y_regress = roi_targets(rois, labels, matches, gt_boxes, 4, (10, 10, 5, 5))
    # Background is the last class; padding has none.
    np.testing.assert_array_equal(y_class, [[[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]])
    # Centre from (5, 5) to (10, 10), twice as high; times the weights of the head.
    deltas = [10 * 0.5, 10 * 0.5, 0, 5 * math.log(2)]
    # Mask, 1 / 2 as two RoIs are not padding, and deltas stand at the RoI's own class only.
    row = [0] * 4 + [1 / 2] * 4 + [0] * 4 + [0] * 4 + deltas + [0] * 4
    np.testing.assert_allclose(y_regress, [[row, [0] * 24, [0] * 24]], rtol=1e-6)


def test_the_number_that_divides_is_that_of_the_whole_batch():
    anchors = np.array([[0, 0, 4, 4], [0, 0, 8, 8]], "float32")
    labels = np.array([[POSITIVE, NEGATIVE], [POSITIVE, IGNORED]], "int32")
    gt_boxes = np.full((2, 1, 4), [0, 0, 6, 6], "float32")
    matches = np.zeros((2, 2), "int32")
    _, y_regress = rpn_targets(anchors, labels, matches, gt_boxes, num_anchors=1)
    np.testing.assert_allclose(np.asarray(y_regress)[:, 0, :4], 1 / 3, rtol=1e-6)

    rois = np.full((2, 2, 4), [0, 0, 8, 8], "float32")
    labels = np.array([[0, -1], [0, -2]], "int32")
    _, y_regress = roi_targets(rois, labels, matches, gt_boxes, 2, (1, 1, 1, 1))
    np.testing.assert_allclose(np.asarray(y_regress)[:, 0, :4], 1 / 3, rtol=1e-6)


def test_images_without_objects_have_finite_targets():
    """Nothing is sampled, or only background: the masks are 0 and no division by 0 happens."""
    anchors = np.array([[0, 0, 4, 4], [0, 0, 8, 8]], "float32")
    gt_boxes, matches = np.zeros((1, 1, 4), "float32"), np.zeros((1, 2), "int32")
    for label in (NEGATIVE, IGNORED):
        labels = np.full((1, 2), label, "int32")
        y_class, y_regress = rpn_targets(anchors, labels, matches, gt_boxes, num_anchors=2)
        np.testing.assert_array_equal(y_regress, np.zeros((1, 1, 16)))
        np.testing.assert_array_equal(y_class, [[[label == NEGATIVE] * 2 + [0, 0]]])
    for label in (-1, -2):
        labels = np.full((1, 2), label, "int32")
        y_class, y_regress = roi_targets(anchors[None], labels, matches, gt_boxes, 3, (1, 1, 1, 1))
        np.testing.assert_array_equal(y_regress, np.zeros((1, 2, 16)))
        np.testing.assert_array_equal(y_class, [[[0, 0, label == -1]] * 2])


# --- AnchorTargetCreator ---------------------------------------------------------------------

GT_BOXES = np.array(
    [[[10, 10, 60, 60], [70, 20, 110, 90]], [[20, 5, 50, 70], [0, 0, 0, 0]], np.zeros((2, 4))], "float32"
)
BATCH = SimpleNamespace(
    images=np.zeros((3, 96, 128, 3), "uint8"),
    image_sizes=np.array([[96, 128], [80, 100], [96, 96]], "float32"),
    gt_boxes=GT_BOXES,
    gt_labels=np.array([[3, 1], [0, -1], [-1, -1]], "int32"),
)
ANCHORS = AnchorConfig(sizes=(24.0, 48.0), ratios=(0.5, 1.0, 2.0))
A = 6


@pytest.fixture(scope="module")
def targeter():
    return AnchorTargetCreator(
        anchor_ops.AnchorGenerator(strides=(16,), **vars(ANCHORS)), RpnConfig(samples=32)
    )


def test_targeter_samples_every_image_of_a_batch(targeter):
    y_class, y_regress = targeter.full_maps(BATCH, np.random.default_rng(0))
    # 96 / 16 by 128 / 16 cells.
    assert y_class.shape == (3, 48, 2 * A) and y_regress.shape == (3, 48, 2 * A * 4)
    valid, label = y_class[..., :A], y_class[..., A:]
    np.testing.assert_array_equal(valid.sum(axis=(1, 2)), [32, 32, 32])
    positives = label.sum(axis=(1, 2))
    assert positives[0] >= 2 and positives[1] >= 1 and positives[2] == 0
    assert (label <= valid).all()
    mask = y_regress[..., : 4 * A].reshape(3, 48, A, 4)
    np.testing.assert_allclose(mask, np.repeat(label[..., None], 4, axis=-1) / (3 * 32), rtol=1e-6)
    assert not y_regress[2].any()


def test_decoding_the_targets_finds_the_ground_truth_again(targeter):
    """With the same grid: what the proposals do with an RPN that has learnt its targets perfectly."""
    y_class, y_regress = targeter.full_maps(BATCH, np.random.default_rng(0))
    base = anchor_ops.base_anchors(ANCHORS.sizes, ANCHORS.ratios)
    anchors = np.asarray(anchor_ops.grid(6, 8, 16, 16, base, ANCHORS.offset))
    for image in range(2):
        positive = y_class[image, :, A:].reshape(-1) == 1
        deltas = y_regress[image, :, 4 * A :].reshape(-1, 4)[positive]
        decoded = np.asarray(box_ops.decode(deltas, anchors[positive]))
        real = GT_BOXES[image][BATCH.gt_labels[image] >= 0]
        distance = np.abs(decoded[:, None] - real[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-3  # each is a ground-truth box
        assert distance.min(axis=0).max() < 1e-3  # and each ground-truth box is there


def test_deltas_are_those_of_encode():
    """Written once more, in numpy: the one of ``boxes`` would be compiled for each number of boxes."""
    rng = np.random.default_rng(0)
    boxes, anchors = (rng.uniform(0, 90, (6, 4)).astype("float32") for _ in range(2))
    boxes, anchors = (
        np.sort(corners.reshape(6, 2, 2), axis=1).reshape(6, 4) for corners in (boxes, anchors)
    )
    labels, matches = np.full((1, 6), POSITIVE, "int32"), np.arange(6, dtype="int32")[None]
    _, y_regress = rpn_targets(anchors, labels, matches, boxes[None], num_anchors=6)
    expected = np.asarray(box_ops.encode(boxes, anchors))
    np.testing.assert_allclose(y_regress[0, 0, 24:].reshape(6, 4), expected, rtol=1e-5, atol=1e-6)


def test_sampled_cells_hold_the_targets_of_the_maps(targeter):
    y_class, y_regress = targeter.full_maps(BATCH, np.random.default_rng(0))
    sampled = targeter(BATCH, np.random.default_rng(0))
    assert sampled.cells.shape == (3, 32) and sampled.cells.dtype == "int32"
    for image in range(3):
        cells = sampled.cells[image][sampled.cells[image] >= 0]
        np.testing.assert_array_equal(cells, np.flatnonzero(y_class[image, :, :A].any(axis=-1)))
        for few, whole in ((sampled.y_class, y_class), (sampled.y_regress, y_regress)):
            np.testing.assert_array_equal(few[image, : len(cells)], whole[image, cells])
            assert not few[image, len(cells) :].any()
            assert not np.delete(whole[image], cells, axis=0).any()


def test_the_generator_decides_the_sample(targeter):
    one, same, other = (targeter.full_maps(BATCH, np.random.default_rng(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_anchors_in_the_padding_are_never_sampled(targeter):
    y_class, _ = targeter.full_maps(BATCH, np.random.default_rng(0))
    valid = y_class[1, :, :A].reshape(6, 8, A)
    # The second image is 80 high and 100 wide: its last cell's centre is at (88, 72).
    assert valid[:5, :6].sum() == 32 and valid.sum() == 32


def test_targets_of_a_pyramid_are_those_of_its_levels_laid_end_to_end():
    config = AnchorConfig(sizes=(24.0, 96.0), ratios=(1.0,), size_per_level=True)
    anchor_generator = anchor_ops.AnchorGenerator(strides=(16, 64), **vars(config))
    y_class, y_regress = AnchorTargetCreator(anchor_generator, RpnConfig(samples=12)).full_maps(
        BATCH, np.random.default_rng(0)
    )
    cells = 6 * 8 + 2 * 2
    assert y_class.shape == (3, cells, 2) and y_regress.shape == (3, cells, 8)
    anchors = np.asarray(anchor_generator(96, 128)[0])
    np.testing.assert_array_equal(y_class[..., 0].sum(axis=1), [12, 12, 12])
    levels = set()
    for image in range(2):
        positive = y_class[image, :, 1] == 1
        levels |= set(np.flatnonzero(positive) >= 48)
        decoded = np.asarray(box_ops.decode(y_regress[image, positive, 4:], anchors[positive]))
        real = GT_BOXES[image][BATCH.gt_labels[image] >= 0]
        distance = np.abs(decoded[:, None] - real[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-3 and distance.min(axis=0).max() < 1e-3
    assert levels == {False, True}  # objects are found on both
