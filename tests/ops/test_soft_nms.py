"""Soft-NMS against the loop of the paper, written in numpy for one class at a time."""

import numpy as np
import pytest
from support import at_once

from frcnn.ops.postprocessing import postprocess
from frcnn.ops.soft_nms import soft_nms_by_class


def overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1) + np.prod(box[2:] - box[:2]) - shared
    return np.where(shared > 0, shared / np.maximum(areas, 1e-9), 0)


def reference(boxes, scores, labels, sigma, threshold, most):
    """Return [(index, final score)], best first: figure 2 of Bodla et al. 2017, class by class."""
    found = []
    for label in set(labels.tolist()):
        left = {index: scores[index] for index in np.flatnonzero(labels == label)}
        while left:
            best = max(left, key=lambda index: (left[index], -index))
            score = left.pop(best)
            if score > threshold:
                found.append((best, score))
            for index in left:
                left[index] *= np.exp(-(overlap(boxes[best], boxes[[index]])[0] ** 2) / sigma)
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:most]


def drawn(seed, count):
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 50, (count, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1).astype("float32")
    return boxes, rng.uniform(0, 1, count).astype("float32"), rng.integers(0, 3, count, "int32")


@pytest.mark.parametrize("seed, count, most", [(0, 40, 60), (1, 40, 7), (2, 1, 3), (3, 90, 90)])
@pytest.mark.parametrize("sigma, threshold", [(0.5, 0.05), (0.1, 0.0), (3.0, 0.3)])
def test_it_takes_the_boxes_and_scores_of_the_paper_s_loop(seed, count, most, sigma, threshold):
    boxes, scores, labels = drawn(seed, count)
    run = at_once(soft_nms_by_class, sigma=sigma, score_threshold=threshold, max_output=most)
    taken, final = (np.asarray(part) for part in run(boxes, scores, labels))
    exact = boxes.astype("float64"), scores.astype("float64"), labels
    expected = reference(*exact, sigma, threshold, most)
    assert taken.dtype == np.int32
    assert taken.tolist() == [index for index, _ in expected] + [-1] * (most - len(expected))
    np.testing.assert_allclose(final[: len(expected)], [score for _, score in expected], rtol=1e-4)
    assert (final[len(expected) :] == 0).all()


def test_detections_have_the_lowered_scores():
    rois = np.array([[[0, 0, 20, 20], [0, 0, 20, 10], [40, 40, 60, 60], [0, 0, 0, 0]]], "float32")
    scores = np.array([[[0.9, 0, 0.1], [0.8, 0, 0.2], [0.1, 0.6, 0.3], [1, 0, 0]]], "float32")
    run = at_once(postprocess, nms_iou=0.3, max_detections=6, soft_nms_sigma=0.5)
    sizes = np.array([[100, 100]], "float32")
    boxes, final, labels = map(np.asarray, run(rois, scores, np.zeros((1, 4, 8), "float32"), sizes))
    lowered = 0.8 * np.exp(-0.25 / 0.5)  # IoU 0.5: plain NMS would drop it
    np.testing.assert_allclose(final, [[0.9, 0.6, lowered, 0.1, 0, 0]], rtol=1e-6)
    assert labels.tolist() == [[0, 1, 0, 0, -1, -1]]
    np.testing.assert_allclose(boxes[0, :4], rois[0, [0, 2, 1, 2]])
