"""What any average precision must do, whatever its definition: VOC's both, and COCO's.

Images are canvases of ``CANVAS`` pixels; ``NOWHERE`` lies off them, so that a detection there is false.
"""

import importlib.util

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import CANVAS, boxes

from frcnn.evaluation.coco_ap import coco_ap
from frcnn.evaluation.voc_ap import INTERPOLATIONS, voc_ap

CLASSES = 3
NOWHERE = [CANVAS + 10, 0, CANVAS + 20, 10]


def by_voc(interpolation, threshold):
    return lambda found, truths: voc_ap(found, truths, CLASSES, threshold, interpolation).ap


def by_coco(found, truths):
    return coco_ap(found, truths, CLASSES).ap[:, 0]


voc_ways = st.builds(by_voc, st.sampled_from(INTERPOLATIONS), st.sampled_from([0.3, 0.5, 1.0]))
ways = voc_ways | st.just(by_coco) if importlib.util.find_spec("pycocotools") else voc_ways


@st.composite
def objects(draw):
    """The truth of an image: no two objects of equal box."""
    drawn = np.unique(draw(boxes(draw(st.integers(0, 4)))), axis=0)
    flags = st.lists(st.booleans(), min_size=len(drawn), max_size=len(drawn))
    labels = st.lists(st.integers(0, CLASSES - 1), min_size=len(drawn), max_size=len(drawn))
    return {
        "boxes": drawn,
        "labels": np.array(draw(labels), int),
        "difficult": np.array(draw(flags), bool),
    }


@st.composite
def scenes(draw):
    """Return detections and truths of some images; no two detections have the same score."""
    truths = draw(st.lists(objects(), min_size=1, max_size=4))
    counts = [draw(st.integers(0, 5)) for _ in truths]
    scores = iter(draw(st.permutations(range(1, sum(counts) + 1))))
    found = []
    for truth, count in zip(truths, counts):
        drawn = draw(boxes(count))
        labels = draw(st.lists(st.integers(0, CLASSES - 1), min_size=count, max_size=count))
        # Half of them on an object, or there would hardly ever be one that is right.
        for row in range(count if len(truth["boxes"]) else 0):
            if draw(st.booleans()):
                pick = draw(st.integers(0, len(truth["boxes"]) - 1))
                drawn[row], labels[row] = truth["boxes"][pick], truth["labels"][pick]
        own = [next(scores) / 64 for _ in range(count)]
        found.append({"boxes": drawn, "scores": np.array(own), "labels": np.array(labels, int)})
    return found, truths


def exact(truths, score=0.5):
    """Detections that are the objects."""
    return [
        {
            "boxes": truth["boxes"],
            "labels": truth["labels"],
            "scores": np.full(len(truth["boxes"]), score),
        }
        for truth in truths
    ]


def with_one_more(found, box, label, score):
    """The detections, and in the last image one more."""
    last = found[-1]
    more = {
        "boxes": np.concatenate([last["boxes"].reshape(-1, 4), [box]]),
        "scores": np.append(last["scores"], score),
        "labels": np.append(last["labels"], label),
    }
    return [*found[:-1], more]


@given(scenes(), ways)
def test_ap_is_a_share_and_nan_only_without_objects(scene, way):
    found, truths = scene
    ap = way(found, truths)
    labels = np.concatenate([truth["labels"][~truth["difficult"]] for truth in truths])
    has_objects = np.bincount(labels, minlength=CLASSES) > 0
    np.testing.assert_array_equal(np.isnan(ap), ~has_objects)
    assert (ap[has_objects] >= 0).all() and (ap[has_objects] <= 1).all()
    nothing = [{"boxes": [], "scores": [], "labels": []}] * len(truths)
    np.testing.assert_array_equal(way(nothing, truths), np.where(has_objects, 0.0, np.nan))


@given(scenes(), ways)
def test_the_objects_themselves_are_a_perfect_answer(scene, way):
    _, truths = scene
    # In COCO a detection of a difficult object may first be counted for another one that it overlaps.
    truths = [truth | {"difficult": np.zeros(len(truth["labels"]), bool)} for truth in truths]
    ap = way(exact(truths), truths)
    np.testing.assert_allclose(ap[~np.isnan(ap)], 1.0)


@given(scenes(), voc_ways)
def test_neither_is_finding_difficult_objects_as_well_a_fault(scene, way):
    _, truths = scene
    ap = way(exact(truths), truths)
    np.testing.assert_array_equal(ap[~np.isnan(ap)], 1.0)


@given(scenes(), ways, st.integers(0, CLASSES - 1), st.integers(0, 40))
def test_a_false_detection_never_raises_ap_and_the_least_sure_changes_nothing(scene, way, label, score):
    found, truths = scene
    ap = way(found, truths)
    # Between two scores, never equal to one.
    worse = way(with_one_more(found, NOWHERE, label, (score + 0.5) / 64), truths)
    others = np.arange(CLASSES) != label
    np.testing.assert_array_equal(worse[others], ap[others])
    assert np.isnan(ap[label]) or worse[label] <= ap[label]
    np.testing.assert_array_equal(way(with_one_more(found, NOWHERE, label, 0.001), truths), ap)


@given(scenes(), ways, st.randoms(use_true_random=False))
def test_the_order_of_images_and_of_detections_makes_no_difference(scene, way, random):
    found, truths = scene
    images = list(range(len(truths)))
    random.shuffle(images)
    rows = [random.sample(range(len(found[i]["scores"])), len(found[i]["scores"])) for i in images]
    moved = [{k: v[row] for k, v in found[i].items()} for i, row in zip(images, rows)]
    np.testing.assert_array_equal(way(moved, [truths[i] for i in images]), way(found, truths))


@given(scenes(), ways, st.sampled_from([np.exp, np.sqrt, lambda x: 1e-3 * x - 7]))
def test_only_the_order_of_scores_counts(scene, way, rising):
    found, truths = scene
    mapped = [one | {"scores": rising(one["scores"])} for one in found]
    np.testing.assert_array_equal(way(mapped, truths), way(found, truths))


@given(scenes(), ways, st.permutations(range(CLASSES)))
def test_classes_do_not_know_of_each_other(scene, way, new):
    found, truths = scene
    new = np.array(new)
    renamed = [[one | {"labels": new[one["labels"]]} for one in side] for side in (found, truths)]
    np.testing.assert_array_equal(way(*renamed)[new], way(found, truths))


@given(scenes(), voc_ways)
def test_finding_the_same_again_is_no_merit(scene, way):
    found, truths = scene
    twice = [
        {key: np.concatenate([one[key], one[key] - 1 if key == "scores" else one[key]]) for key in one}
        for one in found
    ]
    # All scores lie above 0 and below 1, so that every repetition comes after all the others.
    np.testing.assert_array_equal(way(twice, truths), way(found, truths))
