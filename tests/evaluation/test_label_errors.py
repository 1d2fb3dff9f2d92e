"""Labels that confident detections contradict; squares as in ``test_error_analysis``."""

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation.label_errors import find_label_errors, listed

CAT, DOG = 0, 1


def square(index, moved=0):
    return [100 * index + moved, 0, 100 * index + moved + 10, 10]


def errors_of(boxes, scores, labels, true_boxes, true_labels, **options):
    """Return (kind, object, detection, doubt) of each error in one image."""
    detections, truths = [found(boxes, scores, labels)], [truth(true_boxes, true_labels)]
    errors = find_label_errors(detections, truths, **options)
    return [(one.kind, one.object, one.detection, pytest.approx(one.doubt)) for one in errors]


def test_each_kind():
    boxes = [square(0), square(1, 5), square(2), square(3)]
    errors = errors_of(
        boxes, [0.9, 0.8, 0.7, 0.6], [CAT] * 4, [square(0), square(1), square(3)], [DOG, CAT, CAT]
    )
    assert errors == [
        ("swapped class", 0, 0, 0.9),
        ("shifted box", 1, 1, 0.8),
        ("unlabelled", None, 2, 0.7),
    ]


def test_what_the_detector_is_not_sure_of_contradicts_nothing():
    arguments = ([square(0)], [0.4], [CAT], [square(0)], [DOG])
    assert errors_of(*arguments) == []
    assert errors_of(*arguments, score_threshold=0.4) == [("swapped class", 0, 0, 0.4)]


def test_a_detection_that_agrees_with_the_label_takes_from_the_doubt():
    same_place = [square(0), square(0, 1)]
    assert errors_of(same_place, [0.9, 0.3], [CAT, DOG], [square(0)], [DOG]) == [
        ("swapped class", 0, 0, 0.6)
    ]
    assert errors_of(same_place, [0.6, 0.7], [CAT, DOG], [square(0)], [DOG]) == []


def test_a_label_is_named_once_by_its_greatest_doubt():
    errors = errors_of([square(0, 5), square(0, -5)], [0.6, 0.9], [CAT, CAT], [square(0)], [CAT])
    assert errors == [("shifted box", 0, 1, 0.9), ("unlabelled", None, 0, 0.6)]


def test_a_second_detection_on_the_place_of_another_is_no_unlabelled_object():
    # The dog at 0 is labelled and found; a cat is seen at the same place, off the label.
    boxes = [square(0, -3), square(0, 2)]
    assert errors_of(boxes, [0.9, 0.8], [DOG, CAT], [square(0, -5)], [DOG]) == []


def test_the_classifier_tells_a_swapped_label_without_any_detection():
    truths = [truth([square(0), square(1), square(2)], [DOG, DOG, CAT])]
    scores = [np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.1, 0.0, 0.9]])]
    (error,) = find_label_errors([found([], [], [])], truths, scores)
    assert (error.kind, error.object, error.detection, error.label) == ("swapped class", 0, None, CAT)
    assert (error.score, error.doubt) == pytest.approx((0.7, 0.5))
    (row,) = listed([error], ["one"], [found([], [], [])], truths, ("cat", "dog"))
    assert row["label"] == {"class": "dog", "box": square(0)}
    assert row["detection"] == {"class": "cat", "score": pytest.approx(0.7), "box": square(0)}


def test_a_label_that_the_classifier_calls_swapped_is_named_once():
    # A cat is seen on the label, another a little beside it; a dog beside it would be a shifted box.
    detections = [found([square(0), square(0, 4), square(0, 5)], [0.9, 0.8, 0.7], [CAT, CAT, DOG])]
    truths, scores = [truth([square(0)], [DOG])], [np.array([[0.8, 0.1, 0.1]])]
    assert [one.kind for one in find_label_errors(detections, truths, scores)] == ["swapped class"]


def test_the_greater_doubt_names_the_fault():
    """In a shifted box the classifier sees little of the object, and may prefer any class."""
    detections, truths = [found([square(0)], [0.9], [DOG])], [truth([square(0, 5)], [DOG])]
    for scores, kind in (([0.3, 0.1, 0.6], "shifted box"), ([0.99, 0.0, 0.01], "swapped class")):
        assert find_label_errors(detections, truths, [np.array([scores])])[0].kind == kind


def test_where_the_classifier_agrees_a_detection_swaps_no_label():
    detections, truths = [found([square(0)], [0.9], [CAT])], [truth([square(0)], [DOG])]
    assert find_label_errors(detections, truths, [np.array([[0.3, 0.6, 0.1]])]) == ()


def test_difficult_labels_are_labels():
    detections = [found([square(0)], [0.9], [CAT])]
    assert find_label_errors(detections, [truth([square(0)], [CAT], difficult=[0])]) == ()


def test_images_are_sorted_together():
    detections = [found([square(0)], [0.6]), found([], []), found([square(0)], [0.8])]
    errors = find_label_errors(detections, [truth([])] * 3)
    assert [(one.image, one.score) for one in errors] == [(2, 0.8), (0, np.float64(0.6))]


def test_json_has_the_detection_and_the_label():
    detections = [found([square(0), square(1)], [0.9, 0.8], [CAT, DOG])]
    truths = [truth([square(0)], [DOG])]
    errors = find_label_errors(detections, truths)
    swapped, unlabelled = listed(errors, ["one"], detections, truths, ("cat", "dog"))
    assert swapped["label"] == {"class": "dog", "box": square(0)}
    assert swapped["detection"] == {"class": "cat", "score": 0.9, "box": square(0)}
    assert (unlabelled["image"], unlabelled["kind"], unlabelled["label"]) == ("one", "unlabelled", None)
