"""The windows of random crops: inside the image, of SSD's sides, with an object in them."""

import numpy as np

from frcnn.data.augmentation import crop
from frcnn.evaluation.voc_ap import iou


def test_windows_hold_enough_of_an_object():
    boxes = np.array([[10, 20, 60, 90], [100, 5, 130, 40]], "float32")
    chosen, seen = set(), []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        least = np.random.default_rng(seed).choice(crop.MIN_IOUS)
        x1, y1, x2, y2 = window = crop.draw_window(160, 100, boxes, rng)
        assert 0 <= x1 < x2 <= 160 and 0 <= y1 < y2 <= 100
        if window == (0, 0, 160, 100):
            continue
        shares = (x2 - x1) / 160, (y2 - y1) / 100
        assert min(shares) > 0.29 and 0.49 < shares[0] / shares[1] < 2.01
        assert iou(boxes, np.array([window], "float32")).max() >= least - 1e-6
        chosen.add(float(least))
        seen.append(window)
    assert len(set(seen)) > 100 and {0.0, 0.1, 0.3} <= chosen


def test_an_image_without_boxes_is_cropped_anywhere():
    windows = {crop.draw_window(50, 40, np.zeros((0, 4)), np.random.default_rng(n)) for n in range(9)}
    assert len(windows) > 5 and all(x2 <= 50 and y2 <= 40 for _, _, x2, y2 in windows)


def test_a_tiny_image_has_a_window():
    assert crop.draw_window(1, 1, np.zeros((0, 4)), np.random.default_rng(0)) == (0, 0, 1, 1)
