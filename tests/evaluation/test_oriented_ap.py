"""VOC AP of oriented boxes: against overlaps by shapely, and with everything turned by 90 degrees."""

import numpy as np
import pytest

from frcnn.data.oriented import corners, outer
from frcnn.evaluation.voc_ap import voc_ap

CLASSES = 3
SIDE = 400  # of the square images, pixels


def image_of(boxes, labels, **more):
    return {"oriented": boxes, "boxes": outer(boxes), "labels": labels, **more}


def scene(seed, images=6):
    """Return detections and objects of some images: most objects are found, more or less well."""
    rng, detections, truths = np.random.default_rng(seed), [], []
    for _ in range(images):
        count = int(rng.integers(0, 9))
        boxes = np.column_stack(
            [
                rng.uniform(0, SIDE, (count, 2)),
                rng.uniform(10, 120, (count, 2)),
                rng.uniform(-np.pi, np.pi, count),
            ]
        )
        labels = rng.integers(0, CLASSES, count)
        truths.append(
            {
                "oriented": boxes,
                "boxes": outer(boxes),
                "labels": labels,
                "difficult": rng.random(count) < 0.1,
            }
        )
        kept = rng.random(2 * count) < 0.8
        found, own = np.repeat(boxes, 2, axis=0)[kept], np.repeat(labels, 2)[kept]
        found = found + rng.normal(0, 1, found.shape) * [6, 6, 8, 8, 0.2]
        found[:, 2:4] = np.maximum(found[:, 2:4], 1)
        scores = rng.random(len(found))
        detections.append(image_of(found, own, scores=scores))
    return detections, truths


def shapely_ap(detections, truths, label, threshold):
    """Return the all-point AP of a class, from the definition, with shapely's overlaps."""
    shapely = pytest.importorskip("shapely")
    polygons = [
        [shapely.Polygon(box) for box in corners(truth["oriented"])] if len(truth["oriented"]) else []
        for truth in truths
    ]
    rows = [
        (score, number, shapely.Polygon(corners(box[None])[0]))
        for number, found in enumerate(detections)
        for score, box, own in zip(found["scores"], found["oriented"], found["labels"])
        if own == label
    ]
    taken, hits = set(), []
    for _, number, polygon in sorted(rows, key=lambda row: -row[0]):
        best, overlap = None, -1.0
        for index, other in enumerate(polygons[number]):
            if truths[number]["labels"][index] != label:
                continue
            shared = polygon.intersection(other).area
            own = shared / (polygon.area + other.area - shared)
            if own > overlap:
                best, overlap = index, own
        if overlap < threshold:
            hits.append(0)
        elif not truths[number]["difficult"][best]:
            hits.append(int((number, best) not in taken))
            taken.add((number, best))
    objects = sum(int(((one["labels"] == label) & ~one["difficult"]).sum()) for one in truths)
    true = np.cumsum(hits)
    recall, precision = true / objects, true / np.arange(1, len(hits) + 1)
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best_after).sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_ap_is_that_of_shapelys_overlaps(seed, threshold):
    detections, truths = scene(seed)
    found = voc_ap(detections, truths, CLASSES, threshold, oriented=True)
    expected = [shapely_ap(detections, truths, label, threshold) for label in range(CLASSES)]
    np.testing.assert_allclose(found.ap, expected, atol=1e-9)
    assert 0.02 < found.mean_ap < 0.95


def quarter_turned(images):
    """Return images whose boxes are turned with them, by 90 degrees clockwise."""

    def turned(boxes):
        x, y, width, height, angle = boxes.T
        return np.column_stack([SIDE - y, x, width, height, angle + np.pi / 2])

    return [image | {"oriented": turned(image["oriented"])} for image in images]


@pytest.mark.parametrize("seed", range(4))
def test_a_quarter_turn_of_all_images_changes_no_ap(seed):
    detections, truths = scene(seed)
    expected = voc_ap(detections, truths, CLASSES, oriented=True).ap
    once = voc_ap(quarter_turned(detections), quarter_turned(truths), CLASSES, oriented=True).ap
    np.testing.assert_allclose(once, expected, atol=1e-12)
    # Sides that change their names with the angle are the same box.
    swapped = [
        image | {"oriented": image["oriented"][:, [0, 1, 3, 2, 4]] + [0, 0, 0, 0, np.pi / 2]}
        for image in detections
    ]
    np.testing.assert_allclose(voc_ap(swapped, truths, CLASSES, oriented=True).ap, expected, atol=1e-12)
