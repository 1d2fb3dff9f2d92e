"""Which anchors and which RoIs a step trains on: how many, of which kind, and in whose order."""

import numpy as np
import pytest
from support import at_once

from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE
from frcnn.ops.sampling import random_order, sample_anchors, sample_rois


def in_order(*shape):
    """An order that takes candidates as they come."""
    return np.tile(np.arange(shape[-1], dtype="int32"), (*shape[:-1], 1))


def counts(labels):
    labels = np.asarray(labels)
    return int((labels == POSITIVE).sum()), int((labels == NEGATIVE).sum())


def test_random_order_is_a_permutation_a_row_that_the_generator_decides():
    order = random_order(np.random.default_rng(3), 4, 50)
    assert order.shape == (4, 50) and order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order, axis=1), in_order(4, 50))
    assert len(set(map(tuple, order))) == 4  # each row its own
    np.testing.assert_array_equal(order, random_order(np.random.default_rng(3), 4, 50))


# --- anchors ---------------------------------------------------------------------------------


def sampled_anchors(labels, order, samples=256, positive_fraction=0.5):
    return sample_anchors(labels, order, samples, positive_fraction)


def anchor_labels(positives, negatives, ignored=0, seed=0):
    labels = np.repeat([POSITIVE, NEGATIVE, IGNORED], [positives, negatives, ignored]).astype("int32")
    return np.random.default_rng(seed).permutation(labels)[None]


@pytest.mark.parametrize(
    "positives, negatives, expected",
    [
        (1000, 1000, (128, 128)),  # enough of both: half and half
        (10, 1000, (10, 246)),  # few positives: negatives fill up
        (0, 1000, (0, 256)),  # an image without objects
        (128, 128, (128, 128)),
        (1000, 20, (128, 20)),  # few negatives: positives do not fill up, at most half is positive
        (5, 7, (5, 7)),  # fewer candidates than samples: all of them
        (1, 0, (1, 0)),
        (0, 0, (0, 0)),
    ],
)
def test_anchors_sampled_of_256(positives, negatives, expected):
    labels = anchor_labels(positives, negatives, ignored=50)
    order = random_order(np.random.default_rng(1), 1, labels.shape[1])
    sampled = sampled_anchors(labels, order, 256, 0.5)
    assert counts(sampled) == expected
    # A sampled anchor keeps its label; nothing ignored comes in.
    kept = sampled != IGNORED
    np.testing.assert_array_equal(sampled[kept], labels[kept])
    assert sampled.dtype == np.int32


def test_the_defaults_are_the_papers():
    labels = anchor_labels(1000, 1000)
    assert counts(sample_anchors(labels, in_order(1, 2000))) == (128, 128)


@pytest.mark.parametrize("fraction, expected", [(0.0, (0, 8)), (0.25, (2, 6)), (1.0, (8, 0))])
def test_positive_fraction_of_anchors(fraction, expected):
    labels = anchor_labels(20, 20)
    assert counts(sampled_anchors(labels, in_order(1, 40), 8, fraction)) == expected


def test_the_first_in_order_are_taken():
    labels = np.array([[POSITIVE, POSITIVE, NEGATIVE, IGNORED, NEGATIVE, POSITIVE, NEGATIVE]], "int32")
    #          places in the queue: the positives have 6, 2, 1, the negatives 3, 5, 4
    order = np.array([[6, 2, 3, 0, 5, 1, 4]], "int32")
    sampled = sampled_anchors(labels, order, 4, 0.5)
    np.testing.assert_array_equal(
        sampled, [[IGNORED, POSITIVE, NEGATIVE, IGNORED, IGNORED, POSITIVE, NEGATIVE]]
    )


def test_every_anchor_has_the_same_chance():
    labels = np.tile(anchor_labels(20, 60), (2000, 1))
    order = random_order(np.random.default_rng(5), 2000, 80)
    taken = sampled_anchors(labels, order, 16, 0.5) != IGNORED
    share = taken.mean(axis=0)
    # 8 of 20 positives and 8 of 60 negatives; the deviation of such a mean of 2000 is about 0.01.
    np.testing.assert_allclose(share[labels[0] == POSITIVE], 8 / 20, atol=0.05)
    np.testing.assert_allclose(share[labels[0] == NEGATIVE], 8 / 60, atol=0.04)


def test_a_batch_of_anchors_is_its_images_one_by_one():
    rows = [anchor_labels(*kinds, seed=seed) for seed, kinds in enumerate([(50, 50), (3, 97), (0, 100)])]
    labels = np.concatenate(rows)
    order = random_order(np.random.default_rng(2), 3, 100)
    together = sampled_anchors(labels, order, 20)
    alone = [sampled_anchors(labels[i : i + 1], order[i : i + 1], 20) for i in range(3)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert [counts(row) for row in together] == [(10, 10), (3, 17), (0, 20)]


# --- RoIs ------------------------------------------------------------------------------------

# Two objects of classes 4 and 2 and one row of padding. Proposals beside them are 10 wide and high, the
# first few moved right by 1 (IoU 9/11), 3 (7/13), 4 (6/14) and 9 (1/19) pixels.
GT_BOXES = np.array([[[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 0, 0]]], "float32")
GT_LABELS = np.array([[4, 2, -1]], "int32")


def moved(*shifts, box=(0, 0, 10, 10)):
    return np.array([[[box[0] + s, box[1], box[2] + s, box[3]] for s in shifts]], "float32")


def sample(proposals, gt_boxes=GT_BOXES, gt_labels=GT_LABELS, order=None, **options):
    count = proposals.shape[1] + gt_boxes.shape[1]
    order = in_order(len(proposals), count) if order is None else order
    run = at_once(sample_rois, **options)
    return [np.asarray(part) for part in run(proposals, gt_boxes, gt_labels, order)]


def test_rois_by_hand():
    proposals = moved(1, 3, 4, 9, 200)
    rois, labels, matches, overlaps = sample(proposals, samples=10, positive_fraction=0.5)
    # Positives first, in their order: two proposals, then the ground truth that stands behind all
    # proposals. Then the negatives, and padding.
    expected = np.concatenate([proposals[0, :2], GT_BOXES[0, :2], proposals[0, 2:], np.zeros((3, 4))])
    np.testing.assert_array_equal(rois, expected[None])
    assert labels.tolist() == [[4, 4, 4, 2, -1, -1, -1, -2, -2, -2]]
    assert matches[0, :4].tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(overlaps, [[9 / 11, 7 / 13, 1, 1, 6 / 14, 1 / 19, 0, 0, 0, 0]], rtol=1e-6)


def test_positive_at_exactly_the_threshold():
    # A box of 5 x 10 within the object: IoU 50 / 100.
    proposals = np.array([[[0, 0, 5, 10], [0, 0, 4.9, 10]]], "float32")
    _, labels, _, _ = sample(proposals, samples=4, positive_fraction=1.0)
    assert labels.tolist() == [[4, 4, 2, -1]]


@pytest.mark.parametrize(
    "positives, negatives, expected",
    [
        (200, 500, (32, 96)),  # a quarter of 128
        (10, 500, (12, 116)),  # few: 10 and the two objects themselves
        (0, 500, (2, 126)),
        (200, 20, (32, 20)),  # too few negatives: the rest is padding
        (0, 3, (2, 3)),
    ],
)
def test_rois_sampled_of_128(positives, negatives, expected):
    rng = np.random.default_rng(0)
    near, far = rng.uniform(-1, 1, positives), rng.uniform(100, 900, negatives)
    proposals = rng.permutation(moved(*near, *far), axis=1)
    order = random_order(rng, 1, proposals.shape[1] + 3)
    rois, labels, _, overlaps = sample(proposals, order=order)
    assert rois.shape == (1, 128, 4) and labels.shape == (1, 128)
    found = ((labels >= 0).sum(), (labels == -1).sum())
    assert found == expected
    assert (labels == -2).sum() == 128 - sum(expected)
    # Positives first, padding last, padding empty, and each label what its overlap says.
    kinds = np.select([labels[0] >= 0, labels[0] == -1], [0, 1], 2)
    assert (np.diff(kinds) >= 0).all()
    assert not rois[labels == -2].any() and not overlaps[labels == -2].any()
    assert (overlaps[labels >= 0] >= 0.5).all() and (overlaps[labels == -1] < 0.5).all()
    # Nothing is taken twice.
    assert len(np.unique(rois[labels > -2], axis=0)) == sum(expected)


def test_rois_of_an_image_without_objects_are_background():
    rois, labels, _, overlaps = sample(
        moved(*range(0, 400, 2)), np.zeros((1, 1, 4), "float32"), np.array([[-1]], "int32")
    )
    assert (labels == -1).all() and labels.shape == (1, 128)
    assert not overlaps.any()
    assert (rois[..., 2] > rois[..., 0]).all()


def test_an_image_with_neither_proposals_nor_objects_gives_only_padding():
    rois, labels, _, _ = sample(
        np.zeros((1, 7, 4), "float32"), np.zeros_like(GT_BOXES), 0 * GT_LABELS - 1
    )
    assert (labels == -2).all() and not rois.any()


def test_padding_of_ground_truth_does_not_count_whatever_it_holds():
    gt_boxes = GT_BOXES.copy()
    gt_boxes[0, 2] = [100, 0, 110, 10]
    rois, labels, _, _ = sample(moved(100, 300), gt_boxes, samples=8)
    assert labels.tolist() == [[4, 2, -1, -1, -2, -2, -2, -2]]
    assert rois[0, 2:4].tolist() == [[100, 0, 110, 10], [300, 0, 310, 10]]


def test_negatives_from_a_lower_bound():
    """Fast R-CNN's [0.1, 0.5): harder than plain background."""
    _, labels, _, overlaps = sample(moved(4, 9, 200), samples=8, negative_iou_low=0.1)
    assert labels.tolist() == [[4, 2, -1, -2, -2, -2, -2, -2]]
    np.testing.assert_allclose(overlaps[0, 2], 6 / 14, rtol=1e-6)


def test_order_decides_which_rois_are_taken():
    proposals = moved(1, 0.5, 200, 300, 400)
    #                 proposals            ground truth and its padding
    order = np.array([[4, 1, 6, 0, 2, 7, 3, 5]], "int32")
    rois, labels, _, _ = sample(proposals, order=order, samples=4, positive_fraction=0.5)
    # Of the positives the second proposal (1) and the second object (3) stand first, of the
    # negatives the fourth proposal (0) and the fifth (2).
    np.testing.assert_array_equal(
        rois, [[[0.5, 0, 10.5, 10], [50, 50, 60, 60], [300, 0, 310, 10], [400, 0, 410, 10]]]
    )
    assert labels.tolist() == [[4, 2, -1, -1]]


def test_a_batch_of_rois_is_its_images_one_by_one():
    rng = np.random.default_rng(4)
    proposals = np.concatenate([moved(*rng.uniform(-9, 300, 60)) for _ in range(3)])
    gt_boxes = np.concatenate([GT_BOXES, GT_BOXES + np.float32(3), 0 * GT_BOXES])
    gt_labels = np.concatenate([GT_LABELS, GT_LABELS[:, ::-1], [[-1, -1, -1]]]).astype("int32")
    order = random_order(rng, 3, 63)
    together = sample(proposals, gt_boxes, gt_labels, order, samples=16)
    for i in range(3):
        one = slice(i, i + 1)
        alone = sample(proposals[one], gt_boxes[one], gt_labels[one], order[one], samples=16)
        for part, part_alone in zip(together, alone):
            np.testing.assert_array_equal(part[one], part_alone)
    assert (together[1][2] == -1).all()


def test_roi_matches_golden(golden):
    """The box of each proposal at IoU 0.5, -1 below; all 300 are taken, so only order differs."""
    table = golden("assignment")
    proposals, gt_boxes = table["proposals"][None], table["gt_boxes"][None]
    gt_labels = np.arange(12, dtype="int32")[None]
    rois, labels, matches, _ = sample(proposals, gt_boxes, gt_labels, samples=312, positive_fraction=1.0)
    positive = table["roi_match"] >= 0
    # Positives as they come, the 12 objects last; then the negatives.
    expected = np.concatenate(
        [table["roi_match"][positive], np.arange(12), np.full((~positive).sum(), -1)]
    )
    np.testing.assert_array_equal(labels, expected[None])
    np.testing.assert_array_equal(matches[labels >= 0], labels[labels >= 0])
    np.testing.assert_array_equal(rois[0, : positive.sum()], proposals[0, positive])
