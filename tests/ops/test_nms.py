"""Non-maximum suppression: chains by hand, a plain loop, and another implementation.

All ways are tested: ``nms``, which takes a kernel of TensorFlow's where that is the backend, the one
for CPUs and the one for GPUs, and ``blocked_nms``, which is the only one elsewhere.
"""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import at_once

from frcnn import backend
from frcnn.backend import IS_TENSORFLOW
from frcnn.ops import boxes as box_ops
from frcnn.ops.nms import BLOCK, blocked_nms, nms, nms_by_class


def nms_of_a_gpu(*arguments, **settings):
    """``nms`` by the kernel that TensorFlow has for GPUs, too."""
    with mock.patch.object(backend.device, "computes_on_cpu", lambda: False):
        return nms(*arguments, **settings)


WAYS = (nms, nms_of_a_gpu, blocked_nms) if IS_TENSORFLOW else (nms,)
all_ways = pytest.mark.parametrize("way", WAYS)


def boxes_at(*lefts, width=10.0):
    """Boxes 10 high and ``width`` wide, side by side, with these left edges."""
    return np.array([[left, 0, left + width, 10] for left in lefts], "float32")


def falling(count):
    """Scores that say the boxes come best first."""
    return np.linspace(0.9, 0.1, count).astype("float32")


def suppressed(way, boxes, scores, iou_threshold, max_output, *labels):
    """The indices that come out, numpy."""
    run = at_once(way, iou_threshold=iou_threshold, max_output=max_output)
    return np.asarray(run(boxes, scores, *labels))


def greedy(boxes, scores, iou_threshold):
    """What the words say: take the best that is left, drop what overlaps it, repeat."""
    overlaps = np.asarray(at_once(box_ops.iou)(boxes, boxes))
    left = list(np.argsort(-scores, kind="stable"))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [other for other in left if overlaps[best, other] <= iou_threshold]
    return kept


def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (count, 2))
    size = rng.uniform(20, 80, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype("float32")
    return boxes, rng.permutation(count).astype("float32") / count


@all_ways
def test_a_dropped_box_drops_nobody(way):
    # Shifts of 4: the IoU of neighbours is 6 / 14, of those two apart 2 / 18. The first drops the
    # second, which is then in no position to drop the third; the third drops the fourth.
    chain = boxes_at(0, 4, 8, 12)
    assert suppressed(way, chain, falling(4), 0.3, 4).tolist() == [0, 2, -1, -1]
    # With a lower threshold the first drops two. The fourth does not touch it.
    assert suppressed(way, chain, falling(4), 0.1, 4).tolist() == [0, 3, -1, -1]
    assert suppressed(way, chain, falling(4), 0.5, 4).tolist() == [0, 1, 2, 3]


@all_ways
def test_best_come_first(way):
    scores = np.array([0.2, 0.4, 0.3, 0.9], "float32")
    # From the right: 3 drops 2; 1 stands, and drops 0.
    assert suppressed(way, boxes_at(0, 4, 8, 12), scores, 0.3, 4).tolist() == [3, 1, -1, -1]


@all_ways
def test_threshold_itself_is_allowed(way):
    # One box in the left half of the other: IoU exactly 0.5.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 5, 10]], "float32")
    assert suppressed(way, boxes, falling(2), 0.5, 2).tolist() == [0, 1]
    assert suppressed(way, boxes, falling(2), 0.49, 2).tolist() == [0, -1]


@all_ways
def test_equal_scores_go_in_the_order_they_come(way):
    scores = np.full(4, 0.5, "float32")
    assert suppressed(way, boxes_at(0, 4, 8, 12), scores, 0.3, 4).tolist() == [0, 2, -1, -1]
    assert suppressed(way, boxes_at(12, 8, 4, 0), scores, 0.3, 4).tolist() == [0, 2, -1, -1]


@all_ways
def test_empty_boxes_overlap_nothing(way):
    boxes = np.array([[5, 5, 5, 5], [0, 0, 10, 10], [5, 5, 5, 5]], "float32")
    assert suppressed(way, boxes, falling(3), 0.3, 3).tolist() == [0, 1, 2]


@pytest.mark.skipif(not IS_TENSORFLOW, reason="of TensorFlow's kernels")
@pytest.mark.parametrize("way", [nms, nms_of_a_gpu])
def test_kernels_leave_out_what_ranks_at_minus_infinity(way):
    scores = np.array([-np.inf, 0.2, -1e30, -np.inf], "float32")
    assert suppressed(way, boxes_at(0, 20, 40, 60), scores, 0.3, 4).tolist() == [1, 2, -1, -1]


@all_ways
@pytest.mark.parametrize("most", [1, 2, 3, 7])
def test_at_most_so_many(way, most):
    expected = ([0, 2, 3] + [-1] * 7)[:most]
    kept = suppressed(way, boxes_at(0, 1, 20, 40), falling(4), 0.5, most)
    assert kept.tolist() == expected and kept.dtype == np.int32


@all_ways
@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_the_plain_loop_says_the_same_over_blocks(way, count):
    boxes, scores = random_boxes(count, seed=count)
    expected = greedy(boxes, scores, 0.4)
    kept = suppressed(way, boxes, scores, 0.4, count)
    assert kept[: len(expected)].tolist() == expected
    assert (kept[len(expected) :] == -1).all()
    assert count == 1 or len(expected) < count


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 40), min_size=12, max_size=12),
    st.lists(st.integers(0, 5), min_size=12, max_size=12),
    st.sampled_from([0.05, 0.3, 0.5, 0.9]),
)
def test_all_ways_are_greedy_whatever_the_boxes(lefts, scores, threshold):
    """Few places and few scores, so that boxes coincide and scores tie."""
    boxes, scores = boxes_at(*lefts), np.array(scores, "float32")
    expected = greedy(boxes, scores, threshold)
    for way in WAYS:
        assert [i for i in suppressed(way, boxes, scores, threshold, 12) if i >= 0] == expected


@all_ways
@pytest.mark.parametrize("threshold", ["0.3", "0.5", "0.7"])
def test_nms_golden(golden, way, threshold):
    table = golden("nms")
    expected = table[f"keep_{threshold}"]
    kept = suppressed(way, table["boxes"], table["scores"], float(threshold), 600)
    np.testing.assert_array_equal(kept[kept >= 0], expected)


def test_only_boxes_of_a_class_suppress_each_other():
    boxes, scores = boxes_at(0, 1, 2, 3), falling(4)
    labels = np.array([0, 1, 0, 1], "int32")
    assert suppressed(nms_by_class, boxes, scores, 0.5, 4, labels).tolist() == [0, 1, -1, -1]
    assert suppressed(nms_by_class, boxes, scores, 0.5, 4, 0 * labels).tolist() == [0, -1, -1, -1]
    # Also where coordinates are below 0: a class moved by no more than 10, the largest coordinate, would
    # bring its box onto the other.
    corners = np.array([[0, 0, 10, 10], [-10, -10, 0, 0]], "float32")
    assert suppressed(nms_by_class, corners, scores[:2], 0.5, 2, labels[:2]).tolist() == [0, 1]


def test_nms_by_class_golden(golden):
    table = golden("nms")
    labels = table["labels"].astype("int32")
    kept = suppressed(nms_by_class, table["boxes"], table["scores"], 0.5, 600, labels)
    np.testing.assert_array_equal(kept[kept >= 0], table["batched_keep_05"])
