"""From the RPN's outputs to proposals: ranked, moved, clipped, thinned."""

import math

import numpy as np
import pytest
from support import at_once

from frcnn.ops import boxes as box_ops
from frcnn.ops.proposals import propose

# Four anchors of 10 x 10 in a row, apart from each other, in an image 12 high and 100 wide.
ANCHORS = np.array([[left, 0, left + 10, 10] for left in (0, 20, 40, 60)], "float32")
IMAGE = np.array([[12, 100]], "float32")
STILL = np.zeros((1, 4, 4), "float32")
SCORES = np.array([[0.2, 0.9, 0.5, 0.7]], "float32")


def proposed(scores=SCORES, deltas=STILL, anchors=ANCHORS, image_sizes=IMAGE, logits=None, **options):
    """Boxes and scores, numpy; all anchors are of one level unless ``level_counts`` says otherwise."""
    if logits is None:
        logits = np.log(scores) - np.log1p(-scores)
    options = {"pre_nms": 10, "post_nms": 4, "level_counts": (len(anchors),), **options}
    boxes, kept_scores = at_once(propose, **options)(anchors, logits, deltas, image_sizes)
    return np.asarray(boxes), np.asarray(kept_scores)


def test_best_first():
    boxes, scores = proposed()
    np.testing.assert_allclose(boxes[0], ANCHORS[[1, 3, 2, 0]])
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0.5, 0.2]], rtol=1e-6)


def test_deltas_belong_to_their_anchors_and_boxes_end_at_the_image():
    deltas = STILL.copy()
    deltas[0, 0] = [-0.5, 0.1, 0, 0]  # 5 pixels left, 1 down
    deltas[0, 1] = [0, 0, 0, math.log(2)]  # twice as high about the same centre
    deltas[0, 3] = [0.5, 0.5, math.log(0.5), 0]  # half as wide about a centre 5 to the right, 5 down
    boxes, _ = proposed(deltas=deltas)
    np.testing.assert_allclose(
        boxes[0], [[20, 0, 30, 12], [67.5, 5, 72.5, 12], [40, 0, 50, 10], [0, 1, 5, 11]], atol=1e-5
    )


def test_only_the_best_go_into_suppression():
    boxes, scores = proposed(pre_nms=2)
    np.testing.assert_allclose(boxes[0], [*ANCHORS[[1, 3]], [0] * 4, [0] * 4])
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0, 0]], rtol=1e-6)


def test_only_so_many_come_out():
    boxes, scores = proposed(post_nms=1)
    np.testing.assert_allclose(boxes, ANCHORS[None, [1]])
    assert proposed(post_nms=6)[0].shape == (1, 6, 4)  # more than there are anchors
    assert not proposed(post_nms=6)[0][0, 4:].any()


def test_what_overlaps_a_better_one_is_dropped():
    # The third anchor moves onto the second: 2 pixels beside it, IoU 8 / 12.
    deltas = STILL.copy()
    deltas[0, 2] = [-1.8, 0, 0, 0]
    boxes, scores = proposed(deltas=deltas, nms_iou=0.6)
    np.testing.assert_allclose(boxes[0], [*ANCHORS[[1, 3, 0]], [0] * 4])
    np.testing.assert_allclose(scores, [[0.9, 0.7, 0.2, 0]], rtol=1e-6)
    # 0.7, the paper's, is the default.
    assert proposed(deltas=deltas)[1].all()


def test_small_proposals_are_dropped_and_suppress_nothing():
    deltas = STILL.copy()
    deltas[0, 1] = [0, 0, math.log(0.15), 0]  # 1.5 wide, and the best
    assert len(np.unique(proposed(deltas=deltas, min_size=1)[1])) == 4
    boxes, scores = proposed(deltas=deltas, min_size=2)
    np.testing.assert_allclose(boxes[0], [*ANCHORS[[3, 2, 0]], [0] * 4])
    np.testing.assert_allclose(scores, [[0.7, 0.5, 0.2, 0]], rtol=1e-6)
    # Clipping makes small, too: this one leaves the image but for half a pixel.
    deltas[0, 1] = [-2.95, 0, 0, 0]
    np.testing.assert_allclose(proposed(deltas=deltas)[1], [[0.7, 0.5, 0.2, 0]], rtol=1e-6)


def test_proposals_end_at_their_own_image_not_at_its_padding():
    anchors = ANCHORS + np.array([0, 0, 5, 0], "float32")  # 15 wide
    both = np.repeat(STILL, 2, axis=0), np.repeat(SCORES, 2, axis=0)
    boxes, scores = proposed(both[1], both[0], anchors, np.array([[8, 70], [12, 50]], "float32"))
    np.testing.assert_allclose(boxes[0], [[20, 0, 35, 8], [60, 0, 70, 8], [40, 0, 55, 8], [0, 0, 15, 8]])
    # The last anchor starts beyond the second image's right edge: nothing of it is left.
    np.testing.assert_allclose(
        boxes[1], [[20, 0, 35, 10], [40, 0, 50, 10], [0, 0, 15, 10], [0, 0, 0, 0]]
    )
    np.testing.assert_allclose(scores[1], [0.9, 0.5, 0.2, 0], rtol=1e-6)


def test_the_surest_are_told_apart_where_their_scores_are_all_1():
    """float32 has no number between 1 - 6e-8 and 1: the sigmoid of 20, 30, 40 is 1."""
    logits = np.array([[20, 40, -200, 30]], "float32")
    boxes, scores = proposed(logits=logits)
    np.testing.assert_allclose(boxes[0], ANCHORS[[1, 3, 0, 2]])
    np.testing.assert_array_equal(scores, [[1, 1, 1, 0]])


def test_scores_must_reach_the_threshold():
    logits = np.array([[-1, 2, 0, 1]], "float32")
    boxes, scores = proposed(logits=logits, score_threshold=0.5)  # 0 is just that
    np.testing.assert_allclose(boxes[0], [*ANCHORS[[1, 3, 2]], [0] * 4])
    np.testing.assert_allclose(scores, [[0.880797, 0.731059, 0.5, 0]], rtol=1e-5)


# --- several levels --------------------------------------------------------------------------


def test_each_level_brings_its_best_and_the_best_of_all_come_out():
    scores = np.array([[0.7, 0.9, 0.2, 0.3]], "float32")
    boxes, found = proposed(scores, level_counts=(2, 2), pre_nms=1)
    # Without levels the first anchor would be the second best.
    np.testing.assert_allclose(boxes[0], [*ANCHORS[[1, 3]], [0] * 4, [0] * 4])
    np.testing.assert_allclose(found, [[0.9, 0.3, 0, 0]], rtol=1e-6)
    boxes, _ = proposed(scores, level_counts=(1, 3), pre_nms=2, post_nms=2)
    np.testing.assert_allclose(boxes[0], ANCHORS[[1, 0]])
    # A level may have fewer anchors than it might bring.
    np.testing.assert_allclose(proposed(scores, level_counts=(3, 1), pre_nms=3)[0][0, 3], ANCHORS[2])


def test_levels_do_not_suppress_each_other():
    anchors = ANCHORS[[0, 0, 0, 1]] + np.array([[0], [0.5], [1], [0]], "float32")
    scores = np.array([[0.6, 0.9, 0.8, 0.7]], "float32")
    boxes, found = proposed(scores, anchors=anchors, level_counts=(1, 3))
    np.testing.assert_allclose(boxes[0], [anchors[1], anchors[3], anchors[0], [0] * 4])
    np.testing.assert_allclose(found, [[0.9, 0.7, 0.6, 0]], rtol=1e-6)
    assert (proposed(scores, anchors=anchors)[1] > 0).sum() == 2


def test_deltas_belong_to_their_anchors_on_every_level():
    deltas = np.zeros((1, 4, 4), "float32")
    deltas[0, :, 0] = [0.1, 0.2, 0.3, 0.4]  # 1, 2, 3, 4 pixels to the right
    boxes, _ = proposed(deltas=deltas, level_counts=(1, 2, 1), pre_nms=1)
    moved = ANCHORS + np.arange(1, 5)[:, None] * np.array([1, 0, 1, 0])
    np.testing.assert_allclose(boxes[0], [*moved[[1, 3, 0]], [0] * 4], atol=1e-5)


def test_a_batch_is_its_images_one_by_one():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 80, (60, 2))
    anchors = np.concatenate([corner, corner + rng.uniform(10, 40, (60, 2))], axis=1).astype("float32")
    scores = rng.permuted(np.linspace(0.01, 0.99, 180)).reshape(3, 60).astype("float32")
    deltas = rng.normal(0, 0.3, (3, 60, 4)).astype("float32")
    sizes = np.array([[100, 100], [60, 90], [100, 50]], "float32")
    options = {"pre_nms": 20, "post_nms": 20, "nms_iou": 0.5, "level_counts": (40, 15, 5)}
    boxes, kept = proposed(scores, deltas, anchors, sizes, **options)
    for i in range(3):
        one = slice(i, i + 1)
        alone = proposed(scores[one], deltas[one], anchors, sizes[one], **options)
        np.testing.assert_array_equal(boxes[one], alone[0])
        np.testing.assert_array_equal(kept[one], alone[1])
        assert (np.diff(kept[i]) <= 0).all()
        assert (boxes[i] <= np.tile(sizes[i, ::-1], 2)).all() and (boxes[i] >= 0).all()


def one_pass(boxes, scores, levels, post_nms, nms_iou=0.7):
    """Greedy suppression of the boxes of all levels in one go, in plain Python."""
    clash = np.asarray(box_ops.iou(boxes, boxes)) > nms_iou
    clash &= levels[:, None] == levels
    kept = []
    for index in np.argsort(-scores, kind="stable"):
        if len(kept) < post_nms and not clash[index, kept].any():
            kept.append(index)
    return boxes[kept]


@pytest.mark.parametrize("extent", [300, 37, 34])
def test_levels_one_by_one_give_what_one_pass_over_all_gives(extent):
    # In little room most suppress each other: of the best 40 fewer than 20 stay, of all 21 and 12.
    rng = np.random.default_rng(0)
    counts, post_nms = (60, 30, 10), 20
    corners = rng.uniform(0, extent - 30, (100, 2))
    anchors = np.concatenate([corners, corners + rng.uniform(20, 30, (100, 2))], axis=1).astype(
        "float32"
    )
    scores = rng.permutation(np.linspace(0.1, 0.9, 100)).astype("float32")
    boxes, _ = proposed(
        scores[None],
        np.zeros((1, 100, 4), "float32"),
        anchors,
        np.full((1, 2), extent, "float32"),
        level_counts=counts,
        pre_nms=50,
        post_nms=post_nms,
    )
    levels = np.repeat([0, 1, 2], counts)
    best = np.zeros(100, bool)
    best[np.argsort(-scores[:60])[:50]] = True  # the first level's share
    best[60:] = True
    expected = one_pass(anchors[best], scores[best], levels[best], post_nms)
    np.testing.assert_allclose(boxes[0, : len(expected)], expected, atol=1e-4)
    assert not boxes[0, len(expected) :].any()
