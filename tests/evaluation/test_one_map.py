"""VOC AP and COCO AP against pycocotools, which reads the same detections from files."""

import numpy as np
import pytest
from support import coco_eval, found, truth

from frcnn.evaluation import evaluator

CLASSES = ("cat", "dog", "bird")


def scenes(seed=0, images=30):
    """Return detections and truths. Objects are 100 pixels apart, so that none can be mistaken."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(images):
        count = rng.integers(0, 6)
        places = rng.permutation(8)[:count]
        sides = rng.integers(10, 60, (count, 2))
        boxes = np.stack([100 * places, 0 * places, 100 * places + sides[:, 0], sides[:, 1]], axis=1)
        labels = rng.integers(0, len(CLASSES), count)
        moved = boxes + rng.integers(-6, 7, (count, 4))
        false = np.array([[900, 0, 950, 50]])
        said = np.where(rng.random(count) < 0.85, labels, rng.integers(0, len(CLASSES), count))
        scores = rng.permutation(1000)[: count + 1] / 1000
        detections.append(found(np.concatenate([moved, false]), scores, np.append(said, 0)))
        truths.append(truth(boxes, labels))
    return detections, truths


@pytest.fixture
def evaluation(tmp_path):
    """Return detections, truths, and pycocotools' ``COCOeval`` of them."""
    detections, truths = scenes()
    return detections, truths, coco_eval(tmp_path, detections, truths, CLASSES)


def test_coco_ap_is_that_of_pycocotools(evaluation):
    detections, truths, evaluation = evaluation
    summary = evaluator.score(detections, truths, CLASSES, "coco").values["summary"]
    values = [-1.0 if value is None else value for value in summary.values()]  # -1: no such object
    assert values == pytest.approx(evaluation.stats, abs=1e-6) and 0.1 < values[0] < 0.9


def area_under_curve(evaluation, label):
    """Return the area under the curve of one class' matches at IoU 0.5, of all sizes."""
    images = [one for one in evaluation.evalImgs if one and one["category_id"] == label + 1]
    images = [one for one in images if one["aRng"] == evaluation.params.areaRng[0]]
    scores = np.concatenate([one["dtScores"] for one in images])
    hits = np.concatenate([one["dtMatches"][0] > 0 for one in images])[
        np.argsort(-scores, kind="stable")
    ]
    objects = sum(len(one["gtIds"]) for one in images)
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return best[hits].sum() / objects


def test_voc_ap_is_the_area_under_the_curve_of_pycocotools_matches(evaluation):
    detections, truths, evaluation = evaluation
    classes = evaluator.score(detections, truths, CLASSES, "voc12").values["classes"]
    for label, name in enumerate(CLASSES):
        assert classes[name]["AP"] == pytest.approx(area_under_curve(evaluation, label), abs=1e-6)
        assert 0.1 < classes[name]["AP"] < 0.95
