"""The analysis of oriented boxes: that of axis-aligned ones at angle 0, and exact where they differ."""

import json

import numpy as np
from support import found, truth

from frcnn.data import oriented
from frcnn.evaluation import analysis, label_errors
from frcnn.evaluation.voc_ap import voc_ap, with_oriented_boxes


def random_images(count=12, classes=3):
    rng = np.random.default_rng(0)
    detections, truths = [], []
    for _ in range(count):
        corners = rng.uniform(0, 200, (5, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(15, 110, (5, 2))], axis=1)
        labels = rng.integers(classes, size=5)
        near = np.concatenate(
            [boxes + rng.normal(0, 6, (5, 4)), boxes[:2] + 40, boxes[:3] + [3, 0, 3, 0]]
        )
        own = np.concatenate([rng.permutation(labels), labels[:2], labels[:3]])
        detections.append(found(near, rng.uniform(0, 1, 10), own))
        truths.append(truth(boxes, labels) | {"difficult": rng.random(5) < 0.2})
    return detections, truths


def values_of(detections, truths):
    analysed = analysis.analyse(detections, truths, 3)
    errors = [(one.kind, one.image, one.object, one.detection) for one in analysed.label_errors]
    mistakes = [(one.kind, one.image, one.object, one.detection) for one in analysed.errors.mistakes]
    return analysed.values(), errors, mistakes


def test_at_angle_zero_everything_is_as_for_axis_aligned_boxes():
    images = random_images()
    expected, turned = (
        values_of(*images),
        values_of(*([*map(with_oriented_boxes, own)] for own in images)),
    )
    text = [json.dumps(one[0], default=float) for one in (expected, turned)]
    assert text[0] == text[1] and expected[1:] == turned[1:] and len(expected[2]) > 20


def test_everything_turned_by_a_quarter_gives_the_same_numbers():
    def turned(image):
        own = image["boxes"][:, [1, 0, 2, 3, 4]] * [-1, 1, 1, 1, 1] + [0, 0, 0, 0, np.pi / 2]
        return image | {"boxes": own}

    images = [[*map(with_oriented_boxes, own)] for own in random_images()]
    rng = np.random.default_rng(1)
    for found_one, truth_one in zip(*images):
        found_one["boxes"][:5, 4] = truth_one["boxes"][:, 4] = rng.uniform(-3, 3, 5)
    before, after = values_of(*images), values_of(*([*map(turned, own)] for own in images))
    assert before[1:] == after[1:] and before[0]["errors"] == after[0]["errors"]


def test_a_crossing_bar_is_a_mistake_though_its_outer_box_fits():
    bar, crossing = np.array([[50, 50, 60, 6, 0.7]]), np.array([[50, 50, 60, 6, -0.7]])
    detections = [found(oriented.outer(crossing)) | {"oriented": crossing}]
    truths = [truth(oriented.outer(bar)) | {"oriented": bar}]
    assert analysis.analyse(detections, truths, 1).voc.mean_ap == 1.0
    images = [[*map(with_oriented_boxes, own)] for own in (detections, truths)]
    result = analysis.analyse(*images, 1)
    assert result.voc.mean_ap == voc_ap(detections, truths, 1, oriented=True).mean_ap == 0.0
    assert result.errors.counts["background"] + result.errors.counts["loose box"] == 1
    assert result.confusion.tolist() == [[0, 1], [1, 0]]
    errors = label_errors.find_label_errors(*images)
    (row,) = label_errors.listed(errors, ["a"], *images, ["bar"])
    assert row["detection"]["oriented"] == [50, 50, 60, 6, -0.7] and "box" not in row["detection"]
    json.dumps(result.values(), allow_nan=False)
