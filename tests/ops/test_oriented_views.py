"""Oriented detections of views and tiles, merged into those of the image."""

import numpy as np
import pytest

from frcnn.data import oriented
from frcnn.ops import tiles, views

TILES = tiles.windows(150, 100, 100, 0.4)


def found(*rows):
    boxes, scores, labels = zip(*rows) if rows else ([], [], [])
    turned = np.array(boxes, "float32").reshape(-1, 5)
    return {
        "boxes": oriented.outer(turned),
        "scores": np.array(scores, "float32"),
        "labels": np.array(labels, "int32"),
        "oriented": turned,
    }


def moved(box, x):
    return [box[0] - x, *box[1:]]


def test_mirrored_detections_are_those_of_the_image():
    one = found(([20, 30, 24, 6, 0.4], 0.9, 0), ([80, 50, 10, 40, -1.0], 0.8, 1))
    mirrored = one | {"oriented": oriented.flip(one["oriented"], 120)}
    mirrored["boxes"] = oriented.outer(mirrored["oriented"])
    back = views.mirror_boxes(mirrored, 120)
    for name in ("boxes", "oriented"):
        np.testing.assert_allclose(back[name], one[name], rtol=1e-5)
    both = views.merge([one, back], 0.5, 10)
    np.testing.assert_allclose(both["oriented"], one["oriented"], rtol=1e-5)
    assert both["labels"].tolist() == [0, 1]


def test_nms_of_views_compares_the_oriented_boxes():
    """Two bars that cross have one outer box, and overlap little."""
    bar, crossing = [50, 50, 60, 6, 0.7], [50, 50, 60, 6, -0.7]
    both = views.merge([found((bar, 0.9, 0)), found((crossing, 0.8, 0), (bar, 0.7, 0))], 0.5, 10)
    np.testing.assert_allclose(both["scores"], [0.9, 0.8])
    np.testing.assert_allclose(both["boxes"], oriented.outer(both["oriented"]), rtol=1e-5)


def test_boxes_of_tiles_come_into_the_image_and_duplicates_go():
    box = [75, 40, 30, 8, 0.5]
    left, right = found((box, 0.8, 0)), found((moved(box, 50), 0.9, 0), ([50, 70, 20, 9, 2.0], 0.7, 0))
    result = tiles.merge([found(), left, right], TILES, 0.3, 10)
    expected = np.array([box, [100, 70, 20, 9, 2.0]])
    np.testing.assert_allclose(result["oriented"], expected, rtol=1e-5)
    np.testing.assert_allclose(result["boxes"], oriented.outer(expected), rtol=1e-5)


@pytest.mark.parametrize("angle", [0.6, -0.6])
def test_a_part_of_a_bar_gives_way_to_the_bar_only_if_it_lies_in_it(angle):
    whole = [90, 50, 60, 8, 0.6]  # in the right tile, cut by the end of the left one at x = 100
    part = [85, 50 - 5 * np.tan(0.6), 48, 8, angle]
    tiled = [found(), found((part, 0.95, 0)), found((moved(whole, 50), 0.6, 0))]
    result = tiles.merge(tiled, TILES, 0.3, 10)
    assert len(result["scores"]) == (1 if angle == 0.6 else 2)


def test_no_detection_at_all():
    result = tiles.merge([found(), found(), found()], TILES, 0.3, 10)
    assert result["oriented"].shape == (0, 5) and result["boxes"].shape == (0, 4)
