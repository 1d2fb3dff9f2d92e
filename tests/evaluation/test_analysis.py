"""What is computed beside the score: AP by IoU and size, and the numbers for JSON."""

import json

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation import analysis
from frcnn.evaluation.coco_ap import coco_ap
from frcnn.evaluation.label_errors import SUSPICIONS
from frcnn.evaluation.voc_ap import voc_ap

SMALL, MEDIUM, LARGE = [0, 0, 20, 20], [100, 0, 150, 50], [200, 0, 300, 100]


def test_ap_by_size_by_hand():
    # The small and the large object are found; a false detection of medium size comes first.
    detections = [found([[400, 0, 450, 50], SMALL, LARGE])]
    result = analysis.analyse(detections, [truth([SMALL, MEDIUM, LARGE])], 1)
    assert result.by_size[:, 0].tolist() == [1.0, 0.0, 1.0]
    assert np.array_equal(result.by_size[:, -1], result.by_size[:, 0])  # one class: the mean is its own


def test_ap_by_size_agrees_with_pycocotools_at_one_iou():
    """With boxes that fit exactly and no two near each other, both ways of matching agree.

    Every precision is 1, so that the two ways to interpolate agree, too.
    """
    pytest.importorskip("pycocotools")
    detections = [found([SMALL, LARGE])]
    truths = [truth([SMALL, MEDIUM, LARGE, [400, 0, 500, 100]])]
    summary = coco_ap(detections, truths, 1).summary
    result = analysis.analyse(detections, truths, 1)
    assert result.by_size[:, -1] == pytest.approx(
        [summary[name] for name in ("APs", "APm", "APl")], abs=0.01
    )


def test_the_area_of_a_mask_goes_before_that_of_the_box():
    truths = [truth([LARGE]) | {"area": np.array([900.0])}]
    result = analysis.analyse([found([LARGE])], truths, 1)
    assert result.by_size[0, 0] == 1.0 and np.isnan(result.by_size[2, 0])


def test_map_by_iou_is_that_of_voc_ap():
    detections, truths = (
        [found([[0, 0, 10, 13], [50, 0, 60, 10]])],
        [truth([[0, 0, 10, 10], [50, 0, 60, 10]])],
    )
    result = analysis.analyse(detections, truths, 1)
    expected = [voc_ap(detections, truths, 1, iou).mean_ap for iou in analysis.IOU_THRESHOLDS]
    assert result.by_iou.tolist() == expected and len(set(expected)) == 2
    assert result.values()["mAP_by_iou"]["0.50"] == expected[0]


def test_values_are_json_without_nan():
    result = analysis.analyse([found([])], [truth([])], 1)
    values = json.loads(json.dumps(result.values(), allow_nan=False))
    assert values["mAP"] is None and values["best_f1"]["f1"] is None
    assert "label errors" not in analysis.format_tables(result)


@pytest.mark.parametrize("kind", SUSPICIONS)
def test_a_label_fault_that_is_planted_alone_is_named_first(kind):
    """Of ten squares of two classes, three labels have the fault; the detector is a little unsure."""
    boxes = [[100.0 * index, 0, 100 * index + 10, 10] for index in range(10)]
    labels = [index % 2 for index in range(10)]
    detections = [found(boxes, [0.9] * 10, labels)]
    scores = np.array([[0.8, 0.15, 0.05] if label == 0 else [0.15, 0.8, 0.05] for label in labels])
    scores[3:9, :2] = scores[3:9, :2] * 0.1 + 0.3  # unsure of these labels, and twice of the other class
    scores[3:5] = scores[3:5, [1, 0, 2]]
    faulty, kept = slice(0, 3), slice(0, 10)
    if kind == "swapped class":
        labels[faulty] = [1 - label for label in labels[faulty]]
    elif kind == "shifted box":
        boxes[faulty] = [[x1 + 5, y1, x2 + 5, y2] for x1, y1, x2, y2 in boxes[faulty]]
    else:
        kept = slice(3, 10)
    truths = [truth(boxes[kept], labels[kept])]
    result = analysis.analyse(detections, truths, 2, label_scores=[scores[kept]])
    values = result.values()["label_errors"]
    assert list(values)[0] == kind and values[kind]["number"] >= 3
    assert f"probable label errors: {values[kind]['number']} {kind}" in analysis.format_tables(result)


def test_many_weak_doubts_are_less_than_a_few_strong_ones():
    boxes = [[100.0 * index, 0, 100 * index + 10, 10] for index in range(5)]
    scores = [np.array([[0.40, 0.45, 0.15]] * 4)]
    result = analysis.analyse([found(boxes[4:], [0.9])], [truth(boxes[:4])], 2, label_scores=scores)
    assert result.values()["label_errors"] == {
        "unlabelled": {"number": 1, "doubt": pytest.approx(0.9)},
        "swapped class": {"number": 4, "doubt": pytest.approx(0.2)},
        "shifted box": {"number": 0, "doubt": 0},
    }


def test_the_first_batch_is_no_part_of_the_speed():
    speed = analysis.Speed()
    for images, seconds in ((1, 9.0), (2, 0.2), (2, 0.4), (1, 0.3)):
        speed.add(images, seconds)
    assert speed.values() == {
        "milliseconds per image": pytest.approx(200),
        "images per second": pytest.approx(5),
    }
