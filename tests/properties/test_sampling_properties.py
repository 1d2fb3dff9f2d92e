"""The quotas of sampling hold for any candidates and any chance, and padding is never sampled."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import boxes, order
from support import at_once

from frcnn.ops import boxes as box_ops
from frcnn.ops.anchors import IGNORED, NEGATIVE, POSITIVE
from frcnn.ops.sampling import random_order, sample_anchors, sample_rois

N = 24
labels = st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), min_size=N, max_size=N).map(
    lambda drawn: np.array([drawn], "int32")
)
quotas = st.tuples(st.sampled_from([1, 2, 7, N, 40]), st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@given(labels, order(N), quotas)
def test_anchors_are_sampled_up_to_the_quota_and_those_first_in_the_order(drawn, its_order, quota):
    samples, fraction = quota
    kept = sample_anchors(drawn, its_order, samples, fraction)
    kept, drawn, its_order = kept[0], drawn[0], its_order[0]
    positives = min((drawn == POSITIVE).sum(), int(samples * fraction))
    assert (kept == POSITIVE).sum() == positives
    assert (kept == NEGATIVE).sum() == min((drawn == NEGATIVE).sum(), samples - positives)
    # No label is changed, and nothing ignored is made of use.
    np.testing.assert_array_equal(kept[kept != IGNORED], drawn[kept != IGNORED])
    for label in (POSITIVE, NEGATIVE):
        taken, left = (its_order[(drawn == label) & (kept == k)] for k in (label, IGNORED))
        assert not len(taken) or not len(left) or taken.max() < left.min()


P, G = 12, 3
gt_labels = st.lists(st.integers(-1, 2), min_size=G, max_size=G).map(
    lambda drawn: np.array([drawn], "int32")
)
roi_quotas = st.tuples(
    st.sampled_from([1, 4, 8, 20]), st.sampled_from([0.0, 0.25, 0.5]), st.sampled_from([0.0, 0.1])
)


# So few places that an overlap of exactly the threshold is common.
@given(boxes(P, most=4, empty=True), boxes(G, most=4), gt_labels, order(P + G), roi_quotas)
def test_rois_are_candidates_within_the_quota_and_never_padding(
    proposals, gt_boxes, its_labels, its_order, quota
):
    samples, fraction, low = quota
    sampler = at_once(sample_rois, samples=samples, positive_fraction=fraction, negative_iou_low=low)
    sampled = sampler(proposals[None], gt_boxes[None], its_labels, its_order)
    rois, roi_labels, matches, overlaps = (np.asarray(array)[0] for array in sampled)
    assert rois.shape == (samples, 4)

    valid = its_labels[0] >= 0
    candidates = np.concatenate([proposals, gt_boxes[valid]])
    candidates = candidates[np.asarray(box_ops.area(candidates)) > 0]
    best = (np.asarray(at_once(box_ops.iou)(candidates, gt_boxes)) * valid).max(axis=1)
    positives = min((best >= 0.5).sum(), int(samples * fraction))
    negatives = min(((best < 0.5) & (best >= np.float32(low))).sum(), samples - positives)
    # Object, background, padding: in this order, as many as there can be.
    kinds = np.minimum(roi_labels, 0)
    expected = [0] * positives + [-1] * negatives
    assert kinds.tolist() == expected + [-2] * (samples - len(expected))

    # Each is taken from the candidates, one no more often than it is there.
    left = candidates.tolist()
    for roi in rois[roi_labels != -2].tolist():
        left.remove(roi)
    assert (rois[roi_labels == -2] == 0).all() and (overlaps[roi_labels == -2] == 0).all()
    own = np.asarray(at_once(box_ops.iou)(rois, gt_boxes)) * valid
    np.testing.assert_array_equal(overlaps, own.max(axis=1))
    is_object = roi_labels >= 0
    np.testing.assert_array_equal(roi_labels[is_object], its_labels[0][matches[is_object]])
    np.testing.assert_array_equal(own[np.arange(samples), matches][is_object], overlaps[is_object])


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 50))
def test_an_order_is_a_permutation_in_each_row(seed, batch, count):
    its_order = random_order(np.random.default_rng(seed), batch, count)
    assert its_order.shape == (batch, count) and its_order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(its_order, axis=1), [np.arange(count)] * batch)
