"""Curves and tables, each against numbers that can be counted by hand.

``square(i)`` is the i-th 10 x 10 object of a row, 100 pixels apart.
"""

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation.curves import (
    IGNORED,
    UNMATCHED,
    calibration,
    confusion_matrix,
    match_boxes,
    score_curves,
)
from frcnn.evaluation.voc_ap import voc_ap

NOWHERE = [5000, 5000, 5010, 5010]


def square(index, moved=0):
    return [100 * index + moved, 0, 100 * index + moved + 10, 10]


def example():
    """Class 0: three objects, right at 0.9 and 0.5, wrong at 0.7. Class 1: one object, not found."""
    truths = [truth([square(0), square(1), square(2), square(3)], [0, 0, 0, 1])]
    return [found([square(0), NOWHERE, square(1)], [0.9, 0.7, 0.5])], truths


def test_scores_and_hits_belong_to_precision_and_recall():
    result = voc_ap(*example(), 2)
    np.testing.assert_allclose(result.scores[0], [0.9, 0.7, 0.5])
    assert result.hits[0].tolist() == [True, False, True]
    np.testing.assert_allclose(result.precision[0], np.cumsum(result.hits[0]) / [1, 2, 3])


def test_counts_at_thresholds():
    curves = score_curves(voc_ap(*example(), 2), num_thresholds=6)
    np.testing.assert_allclose(curves.thresholds, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert curves.true_positives.tolist() == [[2, 2, 2, 1, 1, 0], [0] * 6]
    assert curves.false_positives.tolist() == [[1, 1, 1, 1, 0, 0], [0] * 6]
    np.testing.assert_allclose(curves.precision[0], [2 / 3, 2 / 3, 2 / 3, 1 / 2, 1, 1])
    np.testing.assert_allclose(curves.recall[0], [2 / 3, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])


def test_best_threshold_of_a_class_and_of_the_mean():
    curves = score_curves(voc_ap(*example(), 2), num_thresholds=6)
    # F1 of class 0: 2 * 2 / (2 + 1 + 3) at thresholds up to 0.4, then 2 / 5, then 2 / 4, then 0.
    np.testing.assert_allclose(curves.f1[0], [2 / 3, 2 / 3, 2 / 3, 2 / 5, 1 / 2, 0])
    assert curves.best(0) == (0.0, pytest.approx(2 / 3))
    assert curves.best() == (0.0, pytest.approx(1 / 3))  # class 1 has 0 everywhere


def test_a_score_on_a_threshold_counts():
    curves = score_curves(voc_ap([found([square(0)], [0.5])], [truth([square(0)])], 1), 3)
    assert curves.true_positives[0].tolist() == [1, 1, 0]


def test_a_class_without_objects_has_no_f1_and_no_part_in_the_mean():
    curves = score_curves(voc_ap([found([square(0)], [0.5])], [truth([square(0)])], 2), 3)
    assert np.isnan(curves.f1[1]).all() and np.isnan(curves.best(1)).all()
    np.testing.assert_allclose(curves.mean_f1, [1, 1, 0])
    without = score_curves(voc_ap([found([])], [truth([])], 1), 3)
    assert np.isnan(without.mean_f1).all() and np.isnan(without.best()).all()


def test_calibration_worked_by_hand():
    # Bin 0.5 to 1: scores 0.9 and 0.7 and 0.5, two right. Bin 0 to 0.5: nothing.
    result = calibration(voc_ap(*example(), 2), bins=2)
    assert result.counts.tolist() == [0, 3]
    assert result.scores[1] == pytest.approx(0.7) and result.precision[1] == pytest.approx(2 / 3)
    assert np.isnan(result.scores[0]) and np.isnan(result.precision[0])
    assert result.error == pytest.approx(0.7 - 2 / 3)


def test_a_calibrated_detector_has_no_error_and_the_last_bin_holds_one():
    detections = [found([square(0), square(1)], [1.0, 1.0])]
    result = calibration(voc_ap(detections, [truth([square(0), square(1)])], 1))
    assert result.counts.tolist() == [0] * 9 + [2] and result.error == 0.0
    assert np.isnan(calibration(voc_ap([found([])], [truth([])], 1)).error)


def test_confusion_with_background():
    # Object 0 of class 0 is found as class 1, object 1 as class 0; object 2, of class 1, is missed;
    # one detection of class 1 has no object.
    truths = [truth([square(0), square(1), square(2)], [0, 0, 1])]
    detections = [found([square(0), square(1), NOWHERE], [0.9, 0.8, 0.7], [1, 0, 1])]
    assert confusion_matrix(detections, truths, 2).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    # Above a threshold of 0.85 only the first detection counts.
    expected = [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert confusion_matrix(detections, truths, 2, score_threshold=0.85).tolist() == expected


def test_the_right_class_is_preferred_to_a_better_overlap():
    # Class 1 fits exactly, class 0 by 9 / 11; the object is of class 0.
    matched = match_boxes(found([square(0), square(0, 1)], labels=[1, 0]), truth([square(0)], [0]))
    assert matched.tolist() == [UNMATCHED, 0]


def test_a_second_detection_of_an_object_is_background():
    detections = [found([square(0), square(0, 1)])]
    assert confusion_matrix(detections, [truth([square(0)])], 1, 0.0).tolist() == [[1, 0], [1, 0]]


def test_difficult_objects_count_neither_way():
    truths = truth([square(0), square(1)], difficult=[0, 1])
    assert match_boxes(found([square(0), NOWHERE]), truths).tolist() == [IGNORED, UNMATCHED]
    assert confusion_matrix([found([square(0)])], [truths], 1, 0.0).sum() == 0


def test_the_diagonal_is_the_true_positives_where_boxes_do_not_compete():
    rng = np.random.default_rng(0)
    truths, detections = [], []
    for _ in range(20):
        labels = rng.integers(0, 3, 5)
        truths.append(truth([square(index) for index in range(5)], labels))
        moved = [square(index, rng.integers(0, 5)) for index in range(5)]
        guesses = np.where(rng.random(5) < 0.7, labels, rng.integers(0, 3, 5))
        detections.append(found(moved, rng.random(5), guesses))
    counts = score_curves(voc_ap(detections, truths, 3)).true_positives[:, 40]
    matrix = confusion_matrix(detections, truths, 3, score_threshold=0.4)
    assert np.diag(matrix)[:3].tolist() == counts.tolist()
    assert matrix[:3].sum() == 100  # each object is in one cell of its row
