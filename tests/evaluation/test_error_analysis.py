"""Mistakes classed and priced, on scenes that can be worked by hand.

Objects are 10 x 10 and 100 pixels apart; a detection moved right by d pixels has an IoU with its object
of (10 - d) / (10 + d): 3 gives 0.54, 5 gives 0.33, 9 gives 0.05.
"""

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation.error_analysis import KINDS, analyse_errors, format_table
from frcnn.evaluation.ranked_ap import RankedClass
from frcnn.evaluation.voc_ap import INTERPOLATIONS, voc_ap

CAT, DOG = 0, 1


def square(index, moved=0):
    return [100 * index + moved, 0, 100 * index + moved + 10, 10]


def one_image(found_boxes, found_labels, true_boxes, true_labels, difficult=()):
    """Return detections from the best to the worst, and objects, of one image."""
    return [found(found_boxes, None, found_labels)], [truth(true_boxes, true_labels, difficult)]


@pytest.mark.parametrize(
    "box, label, kind, meant",
    [
        (square(0, 3), CAT, None, None),
        (square(0, 3), DOG, "wrong class", 0),
        (square(0, 5), CAT, "loose box", 0),
        (square(0, 5), DOG, "class and box", None),
        (square(0, 9), CAT, "background", None),
        (square(7), CAT, "background", None),
    ],
)
def test_a_detection_beside_one_cat(box, label, kind, meant):
    errors = analyse_errors(*one_image([box], [label], [square(0)], [CAT]), num_classes=2)
    kinds = [(one.kind, one.object) for one in errors.mistakes if one.detection is not None]
    assert kinds == ([(kind, meant)] if kind else [])
    # The cat is missed unless it is found, or a mistake that means it will put it right.
    assert errors.counts["missed"] == (kind in ("background", "class and box"))


def test_a_second_detection_of_an_object_is_a_duplicate():
    errors = analyse_errors(*one_image([square(0), square(0, 1)], [CAT, CAT], [square(0)], [CAT]), 1)
    assert [(one.kind, one.detection, one.object) for one in errors.mistakes] == [("duplicate", 1, 0)]


def test_gains_worked_by_hand():
    # Cats at 0 to 3. By score: background, cat 0, cat 1 loose, cat 2 called a dog; cat 3 is missed.
    # Cat: no, yes, no -> one of four objects, at precision 1/2: AP 1/8. Dog: an object at 5, which the
    # second of two dogs finds: AP 1/2. mAP 5/16.
    scene = one_image(
        [square(8), square(0), square(1, 5), square(2), square(5)],
        [CAT, CAT, CAT, DOG, DOG],
        [square(0), square(1), square(2), square(3), square(5)],
        [CAT, CAT, CAT, CAT, DOG],
    )
    errors = analyse_errors(*scene, num_classes=2)
    assert errors.mean_ap == pytest.approx(5 / 16)
    assert errors.counts == dict(zip(KINDS, (1, 1, 1, 1, 0, 0)))
    expected = {
        "missed": (1 / 6 + 1 / 2) / 2,  # one of three cats
        "background": (1 / 4 + 1 / 2) / 2,
        "loose box": ((2 / 3 + 2 / 3) / 4 + 1 / 2) / 2,  # no, yes, yes: precision 2/3 from the first on
        "wrong class": ((1 / 2 + 1 / 2) / 4 + 1) / 2,  # no, yes, no, yes; and the dog alone
        "class and box": 5 / 16,
        "duplicate": 5 / 16,
    }
    assert errors.gains == pytest.approx({kind: ap - 5 / 16 for kind, ap in expected.items()})
    # Each kind has one mistake, so that its cost is the gain of the kind, and the dearest comes first.
    assert {one.kind: one.cost for one in errors.mistakes} == pytest.approx(
        {kind: gain for kind, gain in errors.gains.items() if errors.counts[kind]}
    )
    assert [one.kind for one in errors.mistakes] == ["wrong class", "loose box", "background", "missed"]
    assert format_table(errors).splitlines()[1].split() == ["wrong", "class", "1", "0.6250", "+0.3125"]


def test_of_two_mistakes_that_mean_one_object_the_surer_is_put_right():
    scene = one_image([square(0, 4), square(0, -4)], [CAT, CAT], [square(0)], [CAT])
    errors = analyse_errors(*scene, num_classes=1)
    assert (errors.counts["loose box"], errors.counts["missed"]) == (2, 0)
    assert errors.gains["loose box"] == 1.0  # one is right and the other gone
    assert [one.cost for one in errors.mistakes] == [1.0, 0.5]


def test_a_mistake_about_an_object_that_is_found_is_removed_not_put_right():
    scene = one_image([square(0, 4), square(0)], [CAT, CAT], [square(0)], [CAT])
    errors = analyse_errors(*scene, num_classes=1)
    assert (errors.mean_ap, errors.gains["loose box"]) == (0.5, 0.5)


def test_difficult_objects_are_neither_missed_nor_a_mistake():
    scene = one_image(
        [square(0), square(1)], [CAT, CAT], [square(0), square(1), square(2)], [CAT] * 3, (0, 2)
    )
    errors = analyse_errors(*scene, num_classes=1)
    assert (errors.mean_ap, errors.mistakes) == (1.0, ())


def test_the_last_object_of_a_class_takes_the_class_with_it():
    errors = analyse_errors(*one_image([square(0)], [CAT], [square(0), square(1)], [CAT, DOG]), 2)
    assert (errors.mean_ap, errors.gains["missed"]) == (0.5, 0.5)  # the mean is then over cats alone


def test_without_objects_there_is_no_gain():
    errors = analyse_errors(*one_image([square(0)], [CAT], [], []), 1)
    assert np.isnan(errors.mean_ap) and np.isnan(errors.gains["background"])
    assert "-" in format_table(errors)


def test_a_threshold_below_background_is_refused():
    with pytest.raises(ValueError, match=r"above 0.1 and at most 1: 0.1"):
        analyse_errors([], [], 1, iou_threshold=0.1)


def random_scene(rng, images=12, classes=3):
    """Return detections and truths with every kind of mistake."""
    detections, truths = [], []
    for _ in range(images):
        places, labels = rng.permutation(9)[:4], rng.integers(0, classes, 4)
        boxes = [square(place) for place in places]
        difficult = np.flatnonzero(rng.random(4) < 0.1)
        near = [square(place, moved) for place in places for moved in rng.integers(-6, 7, 2)]
        said = np.where(rng.random(8) < 0.8, np.repeat(labels, 2), rng.integers(0, classes, 8))
        near.append(square(20))
        detections.append(found(near, rng.random(9), np.append(said, 0)))
        truths.append(truth(boxes, labels, difficult))
    return detections, truths


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_map_is_that_of_voc_ap(interpolation):
    rng = np.random.default_rng(0)
    for threshold in (0.5, 0.75):
        scene = random_scene(rng)
        errors = analyse_errors(*scene, 3, threshold, interpolation)
        assert errors.mean_ap == pytest.approx(
            voc_ap(*scene, 3, threshold, interpolation).mean_ap, abs=1e-12
        )
        assert all(gain > -1e-12 for gain in errors.gains.values())
        assert sum(errors.counts.values()) == len(errors.mistakes)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_cost_of_a_false_detection_is_what_its_removal_gains(interpolation):
    scene = random_scene(np.random.default_rng(1))
    errors = analyse_errors(*scene, 3, 0.5, interpolation)
    others = [one for one in errors.mistakes if one.kind in ("background", "class and box", "duplicate")]
    assert len(others) > 10
    for one in others:
        detections = [dict(image) for image in scene[0]]
        for name, column in detections[one.image].items():
            detections[one.image][name] = np.delete(column, one.detection, axis=0)
        expected = voc_ap(detections, scene[1], 3, 0.5, interpolation).mean_ap - errors.mean_ap
        assert one.cost == pytest.approx(expected, abs=1e-12)


def test_a_ranked_class_after_a_change():
    one = RankedClass([0.9, 0.8, 0.7], [False, True, False], 2, "all-point")
    assert one.ap == 1 / 4  # one of two objects, at precision 1/2
    assert one.without(1) == 1 / 2
    assert one.without(3) == 1 / 4
    assert one.with_right(3) == 2 / 3
    assert one.with_another(0.95) == 1 / 2 + (2 / 3) / 2
    assert one.without_an_object() == 1 / 2
