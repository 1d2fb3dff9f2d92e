"""Charts of a validation: pictures of a bounded size, for any class names and numbers of classes."""

import numpy as np
import pytest
from support import found, truth

from frcnn.evaluation.coco_ap import NAMES
from frcnn.evaluation.curves import calibration, score_curves
from frcnn.evaluation.voc_ap import voc_ap
from frcnn.inspection import curve_charts

BOX = [0, 0, 10, 10]


def is_drawn(pixels, most=2000):
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3 and max(pixels.shape) <= most
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
    return True


@pytest.mark.parametrize("boxes", [[], [BOX]])
def test_f1_and_calibration_with_and_without_detections(boxes):
    result = voc_ap([found(boxes)], [truth(boxes)], 2)
    names = ("_under$score", "\u732b")
    assert is_drawn(curve_charts.f1_chart(score_curves(result), names))
    assert is_drawn(curve_charts.calibration_chart(calibration(result)))


@pytest.mark.parametrize("classes", [1, 80])
def test_confusion_of_few_and_many_classes(classes):
    matrix = np.arange((classes + 1) ** 2).reshape(classes + 1, -1)
    assert is_drawn(curve_charts.confusion_chart(matrix, ["a$ class"] * classes, 0.5))


def test_a_row_of_the_confusion_is_darkest_where_most_objects_went():
    dark, light = (
        curve_charts.confusion_chart(np.array(matrix), ["cat"], 0.5)[..., 0].astype(int).sum()
        for matrix in ([[1, 0], [0, 0]], [[0, 0], [0, 0]])
    )
    assert dark < light


def test_ap_by_size_where_there_is_no_object_of_a_size():
    assert is_drawn(curve_charts.ap_chart(dict.fromkeys(NAMES, 0.5) | {"APs": float("nan")}))
