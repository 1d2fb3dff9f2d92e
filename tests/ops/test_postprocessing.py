"""From the classifier's outputs to detections. Two object classes and, last, background."""

import math

import numpy as np
from support import at_once

from frcnn.ops import postprocessing
from frcnn.ops.postprocessing import classes_above, postprocess

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
IMAGE = np.array([[100, 200]], "float32")
ROIS = np.array([[[10, 10, 30, 30], [60, 20, 100, 60], [0, 0, 0, 0]]], "float32")
#                  class 0, 1, background
SCORES = np.array([[[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05]]], "float32")
STILL = np.zeros((1, 3, 8), "float32")


def detected(rois=ROIS, scores=SCORES, deltas=STILL, image_sizes=IMAGE, **options):
    options = {"nms_iou": 0.5, "max_detections": 6} | options
    run = at_once(postprocess, delta_weights=WEIGHTS, **options)
    return [np.asarray(part) for part in run(rois, scores, deltas, image_sizes)]


def test_every_roi_may_be_of_every_class_and_best_come_first():
    boxes, scores, labels = detected()
    # Background is no detection; the third RoI is padding.
    np.testing.assert_allclose(scores, [[0.7, 0.6, 0.3, 0.2, 0, 0]])
    assert labels.tolist() == [[0, 1, 0, 1, -1, -1]]
    np.testing.assert_allclose(boxes[0, :4], ROIS[0, [0, 1, 1, 0]])
    assert labels.dtype == np.int32


def test_a_class_has_its_own_box():
    deltas = STILL.copy()
    deltas[0, 1, 4:] = [
        1,
        -2,
        5 * math.log(0.5),
        0,
    ]  # 0.1 widths right, 0.2 heights up, half wide
    boxes, _, labels = detected(deltas=deltas)
    np.testing.assert_allclose(
        boxes[0, 1], [80 + 4 - 10, 40 - 8 - 20, 80 + 4 + 10, 40 - 8 + 20], atol=1e-4
    )
    np.testing.assert_allclose(boxes[0, 2], ROIS[0, 1])


def test_boxes_end_at_the_image():
    deltas = STILL.copy()
    deltas[..., 2::4] = deltas[..., 3::4] = 5 * math.log(20)
    boxes, _, _ = detected(deltas=deltas)
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 200, 100])


def test_scores_must_be_above_the_threshold():
    _, scores, labels = detected(score_threshold=0.3)
    np.testing.assert_allclose(scores, [[0.7, 0.6, 0, 0, 0, 0]])
    assert labels.tolist() == [[0, 1, -1, -1, -1, -1]]


def test_small_boxes_are_dropped_and_suppress_nothing():
    # Both RoIs at one place, of class 0; the better one's box is 3 wide, or of no width at all.
    rois = np.array([[[10, 10, 30, 30], [10, 10, 30, 30]]], "float32")
    scores = np.array([[[0.9, 0, 0.1], [0.6, 0, 0.4]]], "float32")
    deltas = STILL[:, :2].copy()
    deltas[0, 0, 2] = 5 * math.log(3 / 20)
    _, kept, _ = detected(rois, scores, deltas, min_size=2.9)
    np.testing.assert_allclose(kept, [[0.9, 0.6, 0, 0, 0, 0]])
    boxes, kept, labels = detected(rois, scores, deltas, min_size=3.1, nms_iou=0.1)
    np.testing.assert_allclose(kept, [[0.6, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(boxes[0, 0], rois[0, 1])
    assert labels.tolist() == [[0, -1, -1, -1, -1, -1]]
    # Without a least size a box must still have an inside: this one leaves the image.
    deltas[0, 0, :2] = -100, 0
    np.testing.assert_allclose(detected(rois, scores, deltas)[1], [[0.6, 0, 0, 0, 0, 0]])


def test_suppression_within_a_class_only():
    # Both RoIs at nearly the same place; each class keeps its best.
    rois = np.array([[[10, 10, 30, 30], [11, 10, 31, 30]]], "float32")
    scores = np.array([[[0.5, 0.2, 0.3], [0.45, 0.35, 0.2]]], "float32")
    boxes, kept, labels = detected(rois, scores, STILL[:, :2])
    np.testing.assert_allclose(kept, [[0.5, 0.35, 0, 0, 0, 0]])
    assert labels[0, :2].tolist() == [0, 1]
    np.testing.assert_allclose(boxes[0, :2], rois[0])


def test_what_scores_too_low_suppresses_nothing():
    rois = np.array([[[10, 10, 30, 30], [10, 10, 30, 30]]], "float32")
    scores = np.array([[[0.04, 0.9, 0.06], [0.0, 0.02, 0.98]]], "float32")
    _, kept, labels = detected(rois, scores, STILL[:, :2])
    assert labels.tolist() == [[1, -1, -1, -1, -1, -1]]


def test_at_most_so_many():
    _, scores, _ = detected(max_detections=2)
    np.testing.assert_allclose(scores, [[0.7, 0.6]])


def test_an_image_may_have_no_detection():
    background = np.tile(np.array([0, 0, 1], "float32"), (1, 3, 1))
    _, scores, labels = detected(scores=background)
    assert not scores.any() and (labels == -1).all()


def test_a_batch_is_its_images_one_by_one():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 80, (2, 20, 2))
    rois = np.concatenate([corner, corner + rng.uniform(10, 60, (2, 20, 2))], -1).astype("float32")
    scores = rng.dirichlet([1, 1, 1], (2, 20)).astype("float32")
    deltas = rng.normal(size=(2, 20, 8)).astype("float32")
    sizes = np.array([[100, 200], [70, 60]], "float32")
    together = detected(rois, scores, deltas, sizes)
    for i in range(2):
        one = slice(i, i + 1)
        for part, alone in zip(together, detected(rois[one], scores[one], deltas[one], sizes[one])):
            np.testing.assert_array_equal(part[one], alone)
    assert (together[0][1] <= [60, 70, 60, 70]).all()


def test_many_classes_are_cut_to_those_that_can_score_enough(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (2, 40, 2))
    rois = np.concatenate([corners, corners + rng.uniform(5, 20, corners.shape)], -1).astype("float32")
    logits = rng.normal(0, 2, (2, 40, 31))
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    deltas = rng.normal(0, 1, (2, 40, 120)).astype("float32")
    cases = (rois, scores.astype("float32"), deltas, np.array([[100, 100], [90, 80]], "float32"))
    options = {"score_threshold": 0.15, "nms_iou": 0.3, "max_detections": 50}
    cut = detected(*cases, **options)
    assert classes_above(0.15, 30) == 6 and (cut[1] > 0).sum(axis=1).min() > 20
    monkeypatch.setattr(postprocessing, "classes_above", lambda score, classes: classes)
    for part, whole in zip(cut, detected(*cases, **options), strict=True):
        np.testing.assert_array_equal(part, whole)


def test_how_many_classes_can_score_above_a_threshold():
    assert [classes_above(score, 80) for score in (0.0, 0.05, 0.3, 1 / 3, 0.5, 1.0)] == [
        80,
        20,
        3,
        3,
        2,
        1,
    ]
    assert classes_above(0.05, 3) == 3


def test_only_the_asked_labels_are_detected_and_do_not_take_the_places_of_others():
    _, scores, labels = detected(labels_to_detect=(1,), max_detections=1)
    np.testing.assert_allclose(scores, [[0.6]])
    assert labels.tolist() == [[1]]
