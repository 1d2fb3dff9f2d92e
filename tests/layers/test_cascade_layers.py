"""The RoIs and the targets between the stages of a cascade, against the same in numpy."""

import keras
import numpy as np
import pytest

from frcnn.layers.cascade import RefineRois, StageTargetLayer

numpy = keras.ops.convert_to_numpy
SIZES = np.array([[60, 80], [0, 0]], "float32")  # the second image only fills up the batch
ROIS = np.array(
    [[[0, 0, 20, 20], [10, 10, 30, 50], [70, 40, 80, 60], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 4], "float32"
)
GT = np.array([[[0, 0, 20, 26], [12, 10, 32, 50]], [[0, 0, 0, 0]] * 2], "float32")
LABELS = np.array([[1, 0], [-1, -1]], "int32")


def test_rois_are_the_boxes_of_the_stage_before():
    rng = np.random.default_rng(0)
    deltas = np.tile(rng.normal(0, 2, (2, 4, 4)), (1, 1, 3)).astype("float32")  # three object classes
    deltas[0, 2, [0, 4, 8]] = 30  # leaves the image
    found = numpy(RefineRois((10, 10, 5, 5))(ROIS, deltas, SIZES))

    expected = np.zeros((4, 4))
    for row, (x1, y1, x2, y2) in enumerate(ROIS[0, :2].tolist()):
        dx, dy, dw, dh = deltas[0, row, :4] / [10, 10, 5, 5]
        x, y = x1 + (x2 - x1) * (0.5 + dx), y1 + (y2 - y1) * (0.5 + dy)
        half = (x2 - x1) * np.exp(dw) / 2, (y2 - y1) * np.exp(dh) / 2
        box = [x - half[0], y - half[1], x + half[0], y + half[1]]
        expected[row] = np.clip(box, 0, [80, 60, 80, 60])
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    assert not found[1].any()


@pytest.mark.parametrize("iou, labels", [(0.6, [1, 0, 2]), (0.8, [2, 0, 2]), (0.9, [2, 2, 2])])
def test_targets_follow_the_iou_of_the_stage(iou, labels):
    weights = np.array([20, 20, 10, 10])
    y_class, y_regress = map(numpy, StageTargetLayer(3, iou, tuple(weights))(ROIS, GT, LABELS))
    assert y_class[0, :3].argmax(-1).tolist() == labels  # IoUs 0.77, 0.82 and 0; 2 is background
    assert y_class.sum() == 3 and not y_class[0, 3].any() and not y_class[1].any()
    expected = np.zeros((4, 2, 2, 4))  # RoIs, mask or deltas, classes, numbers
    of_boxes = {0: [0, 0.15, 0, np.log(1.3)], 1: [0.1, 0, 0, 0]}
    for row, label in enumerate(labels):
        if label < 2:
            expected[row, 0, label] = 1 / 3
            expected[row, 1, label] = of_boxes[row] * weights
    np.testing.assert_allclose(y_regress[0], expected.reshape(4, 16), rtol=1e-4, atol=1e-5)
    assert not y_regress[1].any()


def test_without_ground_truth_all_is_background():
    none = np.zeros((2, 0, 4), "float32"), np.zeros((2, 0), "int32")
    y_class, y_regress = map(numpy, StageTargetLayer(3, 0.6, (20, 20, 10, 10))(ROIS, *none))
    assert y_class[0, :3, 2].all() and y_class.sum() == 3 and not y_regress[..., :8].any()
