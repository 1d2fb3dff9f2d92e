"""VOC AP and COCO AP against pycocotools, which reads the same detections from files."""

import contextlib
import io
import json

import numpy as np
import pytest
from support import found, truth

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


def write_json(folder, detections, truths):
    """Write labels and detections as COCO's formats have them."""

    def rows(images, extra):
        for image, one in enumerate(images):
            for row, (x1, y1, x2, y2) in enumerate(np.asarray(one["boxes"], float).tolist()):
                entry = {"image_id": image, "category_id": int(one["labels"][row]) + 1}
                size = [x2 - x1, y2 - y1]
                yield entry | {"bbox": [x1, y1, *size], "area": size[0] * size[1]} | extra(one, row)

    annotations = [
        row | {"id": number}
        for number, row in enumerate(rows(truths, lambda one, row: {"iscrowd": 0}), start=1)
    ]
    content = {
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    (folder / "labels.json").write_text(json.dumps(content))
    results = [*rows(detections, lambda one, row: {"score": float(one["scores"][row])})]
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def evaluation(tmp_path):
    """Return detections, truths, and pycocotools' ``COCOeval`` of them after ``evaluate``."""
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    detections, truths = scenes()
    write_json(tmp_path, detections, truths)
    with contextlib.redirect_stdout(io.StringIO()):
        labels = coco.COCO(str(tmp_path / "labels.json"))
        results = labels.loadRes(str(tmp_path / "results.json"))
        evaluation = cocoeval.COCOeval(labels, results, "bbox")
        evaluation.evaluate()
    return detections, truths, evaluation


def test_coco_ap_is_that_of_pycocotools(evaluation):
    detections, truths, evaluation = evaluation
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
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
