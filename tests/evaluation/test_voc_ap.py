"""VOC AP against tables worked by hand, against loops that follow the definition, and pycocotools.

Most scenes are one row of 10 x 10 objects, 100 pixels apart, so that boxes are easy to read:
``square(i)`` is the i-th object, and a detection moved right by d pixels has an IoU with it of
(10 - d) / (10 + d).
"""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation.voc_ap import INTERPOLATIONS, format_table, voc_ap

NOWHERE = [5000, 5000, 5010, 5010]


def square(index, moved=0):
    return [100 * index + moved, 0, 100 * index + moved + 10, 10]


def ap(detections, ground_truths, **kwargs):
    """AP of a data set with one class."""
    return voc_ap(detections, ground_truths, 1, **kwargs).ap[0]


# --- tables worked by hand -------------------------------------------------------------------


def test_table_worked_by_hand():
    # Five objects; six detections over two images. By score:
    #
    #   score  right?  found  precision  recall  best precision from here on
    #   0.95   yes     1      1/1        0.2     1
    #   0.90   no      1      1/2        0.2     3/4
    #   0.80   yes     2      2/3        0.4     3/4
    #   0.70   yes     3      3/4        0.6     3/4
    #   0.60   no      3      3/5        0.6     3/5
    #   0.50   no      3      3/6        0.6     3/6
    ground_truths = [truth([square(0), square(1)]), truth([square(0), square(1), square(2)])]
    detections = [
        found([square(0), NOWHERE, square(1)], [0.80, 0.90, 0.70]),
        found([square(2), NOWHERE, NOWHERE], [0.95, 0.60, 0.50]),
    ]
    result = voc_ap(detections, ground_truths, 1)
    np.testing.assert_allclose(result.precision[0], [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5, 3 / 6])
    np.testing.assert_allclose(result.recall[0], [0.2, 0.2, 0.4, 0.6, 0.6, 0.6])
    assert (result.objects[0], result.detections[0]) == (5, 6)
    # Area: 1 up to recall 0.2, then 3/4 up to 0.6, then nothing: 0.2 + 0.4 * 3/4.
    assert result.ap[0] == result.mean_ap == pytest.approx(0.5)
    # Recalls 0, 0.1, 0.2 have 1; 0.3, 0.4, 0.5, 0.6 have 3/4; the four above 0. That 0.6 is
    # reached holds in exact numbers only: in floating point 3 / 5 < 6 * 0.1.
    assert ap(detections, ground_truths, interpolation="11-point") == pytest.approx(6 / 11)


def test_a_perfect_detector_has_one_and_none_has_zero():
    ground_truths = [truth([square(0), square(1)]), truth([])]
    perfect, nothing = [found([square(0), square(1)]), found([])], [found([]), found([])]
    for interpolation in INTERPOLATIONS:
        assert ap(perfect, ground_truths, interpolation=interpolation) == 1.0
        result = voc_ap(nothing, ground_truths, 1, interpolation=interpolation)
        assert result.ap[0] == result.mean_ap == 0.0


def test_one_of_eleven_recalls_is_zero_itself():
    # One object of twenty, found at once: recall 0.05, so of the 11 recalls only 0 is reached.
    ground_truths, detections = [truth([square(i) for i in range(20)])], [found([square(7)])]
    assert ap(detections, ground_truths, interpolation="11-point") == pytest.approx(1 / 11)
    assert ap(detections, ground_truths) == pytest.approx(1 / 20)


def test_a_second_detection_of_an_object_is_wrong():
    ground_truths = [truth([square(0), square(1)])]
    detections = [found([square(0), square(0), square(1)])]  # right, wrong, right
    # Precision 1 up to recall 1/2, then 2/3.
    assert ap(detections, ground_truths) == pytest.approx(1 / 2 + 1 / 3)


def test_a_detection_does_not_go_on_to_its_second_best_object():
    # Both detections overlap the left object most (IoU 1 and 9/11), the right one with 1/3 and
    # 3/7. At a threshold of 0.3 COCO would give the second detection to the right object.
    ground_truths = [truth([[0, 0, 10, 10], [5, 0, 15, 10]])]
    detections = [found([[0, 0, 10, 10], [1, 0, 11, 10]])]
    result = voc_ap(detections, ground_truths, 1, iou_threshold=0.3)
    np.testing.assert_allclose(result.precision[0], [1, 1 / 2])
    assert result.ap[0] == 0.5


def test_difficult_objects_count_neither_way():
    # Object 1 is difficult: not an object to be found, and its two detections are passed over.
    ground_truths = [truth([square(0), square(1), square(2)], difficult=[1])]
    detections = [found([square(1), square(0), square(1), NOWHERE, square(2)])]
    result = voc_ap(detections, ground_truths, 1)
    assert (result.objects[0], result.detections[0]) == (2, 5)
    np.testing.assert_allclose(result.precision[0], [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(result.recall[0], [1 / 2, 1 / 2, 1])
    assert result.ap[0] == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


@pytest.mark.parametrize(
    "moved, iou_threshold, expected",
    [(2, 2 / 3, 1.0), (2, 0.67, 0.0), (0, 1.0, 1.0), (5, 1 / 3, 1.0), (6, 1 / 3, 0.0)],
)
def test_a_match_needs_the_threshold_or_more(moved, iou_threshold, expected):
    # Moved by 2 pixels of 10, the IoU is 8 / 12; by 5, 5 / 15; by 6, 4 / 16.
    detections, ground_truths = [found([square(0, moved)])], [truth([square(0)])]
    assert ap(detections, ground_truths, iou_threshold=iou_threshold) == expected


def test_boxes_are_half_open():
    # 10 x 10 against 20 x 10 is one half exactly; with the kit's + 1 it would be 11 / 21.
    detections, ground_truths = [found([[0, 0, 20, 10]])], [truth([[0, 0, 10, 10]])]
    assert ap(detections, ground_truths, iou_threshold=0.5) == 1.0
    assert ap(detections, ground_truths, iou_threshold=0.51) == 0.0


def test_classes_do_not_mix_and_those_without_objects_are_left_out_of_the_mean():
    ground_truths = [truth([square(0), square(1), square(2)], [0, 1, 3], difficult=[2])]
    # Class 0: found. Class 1: its object found under the wrong name. Class 2: only a false
    # positive. Class 3: only a difficult object.
    detections = [found([square(0), square(1), NOWHERE, square(2)], labels=[0, 0, 2, 3])]
    result = voc_ap(detections, ground_truths, 4)
    np.testing.assert_array_equal(result.ap, [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(result.objects, [1, 1, 0, 0])
    np.testing.assert_array_equal(result.detections, [2, 0, 1, 1])
    assert result.mean_ap == 0.5


def test_without_any_object_there_is_no_mean():
    assert np.isnan(voc_ap([found([NOWHERE])], [truth([])], 2).mean_ap)
    assert np.isnan(voc_ap([], [], 2).mean_ap)


def test_equal_scores_keep_the_order_given():
    # 20 right and 20 wrong ones of score 0.5, each followed by a right one of 0.6: numpy's default
    # sort would mix them up, though not where they are a handful or all equal.
    right = (found([square(0)], [0.5]), truth([square(0)]))
    wrong = (found([NOWHERE], [0.5]), truth([]))
    better = (found([square(0)], [0.6]), truth([square(0)]))
    right, wrong = [right, better] * 20, [wrong, better] * 20
    assert ap(*zip(*right, *wrong, strict=True)) == 1.0
    # 60 objects; the last 20 come after the 20 wrong ones: precision ends, and is best, at 60 / 80.
    assert ap(*zip(*wrong, *right, strict=True)) == pytest.approx((40 + 20 * 60 / 80) / 60)


# --- against other implementations -----------------------------------------------------------


def scene(rng, images=8, classes=3):
    """Random objects, some difficult; detections near them, some doubled, some invented."""
    ground_truths, detections = [], []
    for _ in range(images):
        objects = rng.integers(0, 6)
        boxes = random_boxes(rng, objects)
        labels = rng.integers(0, classes, objects)
        ground_truths.append(truth(boxes, labels, np.flatnonzero(rng.random(objects) < 0.25)))
        near = rng.integers(0, objects, rng.integers(0, 9)) if objects else np.zeros(0, int)
        invented = rng.integers(0, 4)
        boxes = np.concatenate(
            [boxes[near] + rng.integers(-3, 4, (len(near), 4)), random_boxes(rng, invented)]
        )
        labels = np.concatenate([labels[near], rng.integers(0, classes, invented)])
        detections.append(found(boxes, rng.random(len(boxes)), labels))
    return detections, ground_truths


def random_boxes(rng, count):
    corner = rng.integers(0, 40, (count, 2))
    return np.concatenate([corner, corner + rng.integers(8, 25, (count, 2))], axis=1)


def ap_by_loops(detections, ground_truths, label, iou_threshold, interpolation):
    """The definition, written out detection by detection with no array operation."""
    ranked = [
        (score, image, box)
        for image, detection in enumerate(detections)
        for box, score, its_label in zip(*detection.values(), strict=True)
        if its_label == label
    ]
    ranked.sort(key=lambda entry: -entry[0])
    objects = sum(((t["labels"] == label) & ~t["difficult"]).sum() for t in ground_truths)
    taken, right, wrong, curve = set(), 0, 0, []
    for _, image, (x1, y1, x2, y2) in ranked:
        best, best_iou = None, 0.0
        for index, (a1, b1, a2, b2) in enumerate(ground_truths[image]["boxes"]):
            shared = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            iou = shared / ((x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - shared)
            if ground_truths[image]["labels"][index] == label and iou > best_iou:
                best, best_iou = index, iou
        if best_iou >= iou_threshold and ground_truths[image]["difficult"][best]:
            continue
        if best_iou >= iou_threshold and (image, best) not in taken:
            taken.add((image, best))
            right += 1
        else:
            wrong += 1
        curve.append((right / objects, right / (right + wrong)))
    if interpolation == "11-point":
        levels = np.arange(11) / 10
        return np.mean([max((p for r, p in curve if r >= t), default=0.0) for t in levels])
    area, before = 0.0, 0.0
    for recall in sorted({r for r, _ in curve}):
        area += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return area


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.75])
def test_equals_the_definition_written_out_in_loops(iou_threshold, interpolation):
    rng = np.random.default_rng(0)
    for _ in range(10):
        detections, ground_truths = scene(rng)
        result = voc_ap(detections, ground_truths, 3, iou_threshold, interpolation)
        for label in np.flatnonzero(result.objects):
            expected = ap_by_loops(detections, ground_truths, label, iou_threshold, interpolation)
            assert result.ap[label] == pytest.approx(expected, abs=1e-12)


def coco_ap(detections, ground_truths, iou_threshold, recalls):
    """AP of class 0 by pycocotools: the mean interpolated precision at the recalls given."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def rows(images, **more):
        for image, boxes in enumerate(images):
            for index, (x1, y1, x2, y2) in enumerate(boxes["boxes"].astype(float)):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                extra = {key: boxes[name][index] for key, name in more.items()}
                yield {"image_id": image + 1, "category_id": 1, "iscrowd": 0, **box, **extra}

    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": image + 1} for image in range(len(ground_truths))],
            "categories": [{"id": 1}],
            "annotations": [{"id": i + 1, **row} for i, row in enumerate(rows(ground_truths))],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(list(rows(detections, score="scores"))), "bbox")
        evaluation.params.iouThrs = np.array([iou_threshold])
        evaluation.params.recThrs = recalls
        evaluation.params.maxDets = [1000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean()


@pytest.mark.parametrize("iou_threshold", [0.5, 0.6, 0.8])
def test_equals_pycocotools_where_the_definitions_agree(iou_threshold):
    # COCO differs from VOC in three things. It lets a detection go on to the best object still
    # free, which changes nothing where no detection overlaps two: here the objects are 100 pixels
    # apart. It has crowds where VOC has difficult objects: here there are neither. And it takes
    # the precision at 101 recalls: here we hand it other ones. VOC 2007's are 0, 0.1, ..., 1. For
    # the area, take one recall inside each of the steps, 1 / objects wide, in which recall grows:
    # the mean of the precisions there is the area under the steps.
    pytest.importorskip("pycocotools")
    rng = np.random.default_rng(1)
    for _ in range(5):
        ground_truths = [truth([square(i) for i in range(rng.integers(0, 7))]) for _ in range(6)]
        detections = []
        for boxes in (t["boxes"] for t in ground_truths):
            near = rng.integers(0, len(boxes), rng.integers(0, 10)) if len(boxes) else []
            moved = [square(i, rng.integers(-4, 5)) for i in near] + [NOWHERE] * rng.integers(0, 3)
            detections.append(found(moved, rng.random(len(moved))))
        objects = sum(len(t["boxes"]) for t in ground_truths)
        inside_each_step = (np.arange(objects) + 0.5) / objects
        eleven = np.arange(11) / 10
        for interpolation, recalls in [("all-point", inside_each_step), ("11-point", eleven)]:
            expected = coco_ap(detections, ground_truths, iou_threshold, recalls)
            result = ap(
                detections, ground_truths, iou_threshold=iou_threshold, interpolation=interpolation
            )
            assert 0 < result < 1 and result == pytest.approx(expected, abs=1e-9)


# --- what must hold for any scene ------------------------------------------------------------


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("seed", range(20))
def test_properties(seed, interpolation):
    rng = np.random.default_rng(seed)
    detections, ground_truths = scene(rng)

    def all_ap(detections, ground_truths=ground_truths):
        return voc_ap(detections, ground_truths, 3, interpolation=interpolation).ap

    before = all_ap(detections)
    assert np.all((before >= 0) & (before <= 1) | np.isnan(before))

    # Only the order of the scores counts, and neither that of the images nor of the boxes.
    logits = [{**d, "scores": 5 * np.log(d["scores"])} for d in detections]
    np.testing.assert_array_equal(all_ap(logits), before)
    shuffled = [{key: array[::-1] for key, array in d.items()} for d in detections]
    np.testing.assert_array_equal(all_ap(shuffled[::-1], ground_truths[::-1]), before)

    # Nothing is gained by guessing: a false positive below all others leaves AP as it is, and one
    # above all others never raises it.
    for score in (-1.0, 2.0):
        guess = found([NOWHERE] * 3, [score] * 3, [0, 1, 2])
        after = all_ap([*detections, guess], [*ground_truths, truth([])])
        same_or_less = np.isclose(after, before) | (after < before) | np.isnan(before)
        assert np.all(same_or_less)
        if score < 0:
            np.testing.assert_array_equal(after, before)


# --- errors and the table --------------------------------------------------------------------


@pytest.mark.parametrize(
    "detections, ground_truths, message",
    [
        ([found([])], [], "1 images in detections, 0 in ground_truths"),
        ([found([square(0)], labels=[2])], [truth([])], r"detections\[0\] has labels 2 to 2"),
        ([found([])], [truth([square(0)], [-1])], r"ground_truths\[0\] has labels -1 to -1"),
        ([found([square(0)], scores=[0.5, 0.4])], [truth([])], r"mismatched shapes.*'scores': \(2,\)"),
        ([{"boxes": [], "scores": []}], [truth([])], r"detections\[0\] lacks \['labels'\]"),
        ([found([square(0)], scores=[np.nan])], [truth([])], "score is NaN"),
    ],
)
def test_bad_input_is_named(detections, ground_truths, message):
    with pytest.raises(ValueError, match=message):
        voc_ap(detections, ground_truths, 2)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="'all-point', '11-point'.*'101-point'"):
        voc_ap([], [], 1, interpolation="101-point")
    with pytest.raises(ValueError, match=r"\(0, 1\], not 50"):
        voc_ap([], [], 1, iou_threshold=50)


def test_table():
    ground_truths = [truth([square(0), square(1), square(2)], [0, 1, 1])]
    detections = [found([square(0), square(1)], labels=[0, 1])]
    assert format_table(voc_ap(detections, ground_truths, 3), ["cat", "dining table", "sofa"]) == (
        "class               objects  detections      AP\n"
        "cat                       1           1  1.0000\n"
        "dining table              2           1  0.5000\n"
        "sofa                      0           0       -\n"
        "mAP@0.5 all-point         3           2  0.7500"
    )
    with pytest.raises(ValueError, match="1 class names for 3 classes"):
        format_table(voc_ap(detections, ground_truths, 3), ["cat"])
