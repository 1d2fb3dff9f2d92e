"""What greedy suppression promises: nothing that is kept overlaps, and nothing is dropped in vain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import boxes
from support import at_once

from frcnn.ops import boxes as box_ops
from frcnn.ops.nms import blocked_nms, nms, nms_by_class

COUNT = 14
thresholds = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.95])
# Few different scores, so that many tie.
scores = st.lists(st.integers(0, 6), min_size=COUNT, max_size=COUNT).map(
    lambda drawn: np.array(drawn, "float32") / 7
)
few_labels = st.lists(st.integers(0, 2), min_size=COUNT, max_size=COUNT).map(
    lambda drawn: np.array(drawn, "int32")
)


def kept_by(way, *arguments, threshold, most=COUNT):
    kept = np.asarray(at_once(way, iou_threshold=threshold, max_output=most)(*arguments))
    assert kept.shape == (most,) and kept.dtype == np.int32
    count = (kept >= 0).sum()
    assert (kept[count:] == -1).all()  # what is missing is missing at the end
    return kept[:count].tolist()


def assert_greedy(kept, some, some_scores, threshold):
    overlaps = np.asarray(at_once(box_ops.iou)(some, some))
    rank = [(-some_scores[index], index) for index in range(len(some))]
    assert [rank[index] for index in kept] == sorted(rank[index] for index in kept)
    for place, index in enumerate(kept):
        assert (overlaps[index, kept[:place]] <= threshold).all()
    for dropped in set(range(len(some))) - set(kept):
        better = [index for index in kept if rank[index] < rank[dropped]]
        assert (overlaps[dropped, better] > threshold).any()


@pytest.mark.parametrize("way", [nms, blocked_nms])
@given(some=boxes(COUNT, most=12, empty=True), some_scores=scores, threshold=thresholds)
def test_kept_boxes_keep_apart_and_dropped_ones_overlap_a_better(way, some, some_scores, threshold):
    kept = kept_by(way, some, some_scores, threshold=threshold)
    assert_greedy(kept, some, some_scores, threshold)


@settings(max_examples=20)
@given(boxes(COUNT, most=12, empty=True), scores, thresholds, st.sampled_from([1, 3, COUNT, 20]))
def test_both_ways_keep_the_same(some, some_scores, threshold, most):
    kept = kept_by(nms, some, some_scores, threshold=threshold, most=most)
    assert kept == kept_by(blocked_nms, some, some_scores, threshold=threshold, most=most)
    # A smaller limit keeps the first of what a larger one does.
    assert kept == kept_by(nms, some, some_scores, threshold=threshold)[:most]


@given(boxes(COUNT, most=12, empty=True), scores, thresholds)
def test_what_is_kept_is_kept_again(some, some_scores, threshold):
    kept = kept_by(nms, some, some_scores, threshold=threshold)
    # Padded with empty boxes to the same shape; those come last.
    again, again_scores = np.zeros_like(some), np.full_like(some_scores, -1)
    again[: len(kept)], again_scores[: len(kept)] = some[kept], some_scores[kept]
    assert kept_by(nms, again, again_scores, threshold=threshold)[: len(kept)] == [*range(len(kept))]


@given(boxes(COUNT, most=12), scores, few_labels, thresholds)
def test_by_class_is_each_class_by_itself(some, some_scores, labels, threshold):
    expected, some = [], some - 6  # to the left of and above the origin, too
    for label in range(3):
        own = np.flatnonzero(labels == label)
        kept = nms(some[own], some_scores[own], threshold, COUNT) if len(own) else []
        expected += [own[index] for index in np.asarray(kept) if index >= 0]
    kept = kept_by(nms_by_class, some, some_scores, labels, threshold=threshold)
    assert sorted(kept) == sorted(expected)
