"""The overlap of oriented boxes: by hand, against polygons clipped in float64, and against OpenCV."""

import math

import numpy as np
import pytest

from frcnn.ops import oriented_boxes
from frcnn.ops.nms import blocked_nms
from frcnn.ops.oriented_iou import intersection_area, iou


def boxes_of(*rows):
    return np.array(rows, "float32")


def random_boxes(count, seed):
    rng = np.random.default_rng(seed)
    parts = rng.uniform(0, 60, (count, 2)), rng.uniform(1, 60, (count, 2))
    return np.concatenate([*parts, rng.uniform(-4, 4, (count, 1))], axis=1).astype("float32")


def corners(box):
    """Return the four corners of a box in float64, in order."""
    cx, cy, w, h, angle = map(float, box)
    cos, sin = math.cos(angle), math.sin(angle)
    offsets = ((-w, -h), (w, -h), (w, h), (-w, h))
    return [(cx + (u * cos - v * sin) / 2, cy + (u * sin + v * cos) / 2) for u, v in offsets]


def polygon_area(points):
    pairs = zip(points, points[1:] + points[:1])
    return 0.5 * sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs)


def clipped(points, others):
    """Clip a convex polygon to another, side by side: Sutherland and Hodgman 1974."""
    for (ax, ay), (bx, by) in zip(others, others[1:] + others[:1]):
        kept = []
        for (px, py), (qx, qy) in zip(points, points[1:] + points[:1]):
            p = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
            q = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
            if p >= 0:
                kept.append((px, py))
            if (p > 0 > q) or (p < 0 < q):
                share = p / (p - q)
                kept.append((px + share * (qx - px), py + share * (qy - py)))
        points = kept
    return points


def expected_iou(box, other):
    shared = polygon_area(clipped(corners(box), corners(other)))
    return shared / (polygon_area(corners(box)) + polygon_area(corners(other)) - shared)


def test_by_hand():
    square = boxes_of([0, 0, 2, 2, 0])
    turned = boxes_of([0, 0, 2, 2, math.pi / 4])  # the intersection is a regular octagon
    octagon = 8 * (2**0.5 - 1)
    np.testing.assert_allclose(intersection_area(square, turned), [octagon], rtol=1e-5)
    others = boxes_of([1, 0, 2, 2, 0], [5, 0, 2, 2, 0.3], [0, 0, 1, 1, 0.7], [2, 0, 2, 2, 0])
    np.testing.assert_allclose(iou(square, others)[0], [1 / 3, 0, 1 / 4, 0], atol=1e-5)


def test_random_boxes_against_polygons():
    boxes, others = random_boxes(60, 0), random_boxes(60, 1)
    expected = [[expected_iou(box, other) for other in others] for box in boxes]
    assert np.mean(np.array(expected) > 0) > 0.3
    np.testing.assert_allclose(iou(boxes, others), expected, atol=1e-5)


def test_random_boxes_against_opencv():
    cv2 = pytest.importorskip("cv2")
    boxes, others = random_boxes(60, 2), random_boxes(60, 3)
    shared = np.zeros((60, 60))
    for i, box in enumerate(boxes.astype(float)):
        for j, other in enumerate(others.astype(float)):
            pair = [(tuple(b[:2]), tuple(b[2:4]), math.degrees(b[4])) for b in (box, other)]
            kind, points = cv2.rotatedRectangleIntersection(*pair)
            shared[i, j] = cv2.contourArea(cv2.convexHull(points)) if kind else 0.0
    own = np.asarray(intersection_area(boxes[:, None], others[None]))
    # OpenCV joins vertices that lie close to each other.
    np.testing.assert_allclose(own, shared, rtol=2e-3, atol=0.05)


def test_a_box_overlaps_itself_wholly_however_it_is_described():
    boxes = random_boxes(500, 4) + np.array([3000, 3000, 0, 0, 0], "float32")
    again = boxes[:, [0, 1, 3, 2, 4]] + np.array([0, 0, 0, 0, math.pi / 2], "float32")
    for other in (boxes, again, np.asarray(oriented_boxes.canonical(boxes))):
        own = np.asarray(iou(boxes[:, None], other[:, None]))[:, 0, 0]
        np.testing.assert_allclose(own, 1.0, atol=2e-5)


@pytest.mark.parametrize("shift", [1e-6, 1e-5, 1e-4, 1e-3])
def test_sides_that_nearly_coincide_count_once(shift):
    boxes = random_boxes(300, 5)
    for column in range(5):
        moved = boxes.copy()
        moved[:, column] += shift
        own = np.asarray(iou(boxes[:, None], moved[:, None]))[:, 0, 0]
        expected = [expected_iou(box, other) for box, other in zip(boxes, moved)]
        np.testing.assert_allclose(own, expected, atol=2e-5)


def test_an_empty_box_overlaps_nothing():
    own = iou(boxes_of([0, 0, 0, 0, 0], [5, 5, -1, 3, 0]), boxes_of([0, 0, 2, 2, 0], [0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(own, np.zeros((2, 2)))


def test_suppression_takes_this_overlap():
    # Two long boxes that cross: their outer boxes overlap much, they themselves hardly do.
    crossing = boxes_of([50, 50, 80, 6, 0.7], [50, 50, 80, 6, -0.7], [51, 50, 80, 6, 0.72])
    kept = blocked_nms(crossing, np.array([0.9, 0.8, 0.7], "float32"), 0.3, 3, iou)
    np.testing.assert_array_equal(kept, [0, 1, -1])
