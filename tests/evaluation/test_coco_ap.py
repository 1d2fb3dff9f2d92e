"""COCO AP: numbers worked by hand, and what it must share with our own VOC AP."""

import builtins

import numpy as np
import pytest
from support import found, truth

from frcnn.errors import FrcnnError
from frcnn.evaluation.coco_ap import CLASS_NAMES, NAMES, coco_ap, format_table
from frcnn.evaluation.voc_ap import voc_ap

NOWHERE = [5000, 5000, 5010, 5010]


def square(index, moved=0, side=10):
    return [300 * index + moved, 0, 300 * index + moved + side, side]


@pytest.fixture(autouse=True)
def _installed(request):
    if "without" not in request.node.name:
        pytest.importorskip("pycocotools")


def test_a_perfect_detector_has_one_wherever_there_is_something_to_find():
    boxes = [square(0, side=10), square(1, side=50), square(2, side=200)]
    result = coco_ap([found(boxes)], [truth(boxes)], 1)
    # One detection an image finds one object of three.
    expected = dict.fromkeys(NAMES, 1.0) | {"AR@1": 1 / 3}
    assert list(result.summary) == list(NAMES)
    for name in NAMES:
        assert result.summary[name] == pytest.approx(expected[name]), name
    np.testing.assert_allclose(result.ap, np.ones((1, 6)))
    assert result.mean_ap == pytest.approx(1.0)


def test_the_ten_thresholds_and_the_three_sizes():
    # Moved by 1.5 of 10 pixels: an IoU of 8.5 / 11.5 = 0.739, enough for 0.5 ... 0.7, half of them.
    result = coco_ap([found([square(0, 1.5)])], [truth([square(0)])], 1)
    assert result.summary["AP"] == pytest.approx(0.5)
    assert (result.summary["AP50"], result.summary["AP75"]) == (pytest.approx(1.0), 0.0)
    assert result.summary["APs"] == pytest.approx(0.5)
    assert np.isnan([result.summary[name] for name in ("APm", "APl", "ARm", "ARl")]).all()


def test_classes_have_rows_of_their_own():
    truths = [truth([square(0), square(1, side=50)], [0, 1])]
    # Class 0 is found; class 1 has a detection somewhere else before the right one: precision 1/2.
    # That one is small, so it does not count where medium objects are looked for.
    result = coco_ap([found([square(0), NOWHERE, square(1, side=50)], labels=[0, 1, 1])], truths, 3)
    np.testing.assert_allclose(result.ap[0], [1, 1, 1, 1, np.nan, np.nan])
    np.testing.assert_allclose(result.ap[1], [0.5, 0.5, 0.5, np.nan, 1, np.nan])
    assert np.isnan(result.ap[2]).all()  # no object
    np.testing.assert_allclose(result.summary["AP"], 0.75)  # the third class has no say
    assert result.objects.tolist() == [1, 1, 0] and result.detections.tolist() == [1, 2, 0]


def test_nothing_found_and_nothing_to_find():
    assert coco_ap([found([])], [truth([square(0)])], 1).summary["AP"] == 0.0
    result = coco_ap([found([square(0)])], [truth([])], 1)
    assert np.isnan(result.mean_ap) and np.isnan(result.ap).all()
    assert np.isnan(coco_ap([], [], 1).mean_ap)


def test_difficult_objects_count_neither_way():
    truths = [truth([square(0), square(1)], difficult=[1])]
    # Twice on the difficult one, with the better scores: as if it was not there. The second is a part
    # of it, an IoU of 0.25; but all of it lies inside.
    result = coco_ap([found([square(1), square(1, side=5), square(0)])], truths, 1)
    assert result.summary["AP"] == pytest.approx(1.0) and result.objects[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_close_to_our_voc_ap_where_only_the_recalls_differ(seed):
    # Objects far apart: no detection could go on to another one. What is left between the two is
    # COCO's 101 recalls in place of the whole curve. Precision falls from at most 1 to at least 0
    # along it, so the means differ by 1/101 at most.
    rng = np.random.default_rng(seed)
    truths = [
        truth([square(i) for i in range(count)], rng.integers(0, 3, count))
        for count in rng.integers(0, 7, 30)
    ]
    detections = []
    for one in truths:
        near = rng.integers(0, len(one["boxes"]), 8) if len(one["boxes"]) else np.zeros(0, int)
        boxes = [square(i, rng.integers(-4, 5)) for i in near] + [NOWHERE] * 2
        labels = [*one["labels"][near], *rng.integers(0, 3, 2)]
        detections.append(found(boxes, rng.random(len(boxes)), labels))
    coco, voc = coco_ap(detections, truths, 3), voc_ap(detections, truths, 3)
    assert ((voc.ap > 0) & (voc.ap < 1)).all()
    np.testing.assert_allclose(coco.ap[:, CLASS_NAMES.index("AP50")], voc.ap, atol=1 / 101)
    assert coco.summary["AP50"] == pytest.approx(voc.mean_ap, abs=1 / 101)
    strict = voc_ap(detections, truths, 3, iou_threshold=0.75)
    np.testing.assert_allclose(coco.ap[:, CLASS_NAMES.index("AP75")], strict.ap, atol=1 / 101)
    assert coco.objects.tolist() == voc.objects.tolist()


def test_the_tables():
    truths = [truth([square(0), square(1, side=50)], [0, 1])]
    result = coco_ap([found([square(0)])], truths, 2)
    header, cat, dog, mean, blank, recalls, values = format_table(result, ["cat", "dog"]).splitlines()
    assert header.split() == ["class", "objects", "detections", *CLASS_NAMES]
    assert cat.split() == "cat 1 1 1.0000 1.0000 1.0000 1.0000 - -".split()
    assert dog.split() == "dog 1 0 0.0000 0.0000 0.0000 - 0.0000 -".split()
    assert mean.split() == "mean 2 1 0.5000 0.5000 0.5000 1.0000 0.0000 -".split()
    assert len(header) == len(cat) == len(mean) and not blank
    assert recalls.split() == list(NAMES[6:])
    assert values.split() == "0.5000 0.5000 0.5000 1.0000 0.0000 -".split()
    with pytest.raises(ValueError, match="1 class names for 2 classes"):
        format_table(result, ["cat"])


def test_what_does_not_fit_is_refused_as_in_voc_ap():
    with pytest.raises(ValueError, match="1 images in detections, 2 in ground_truths"):
        coco_ap([found([])], [truth([]), truth([])], 1)
    with pytest.raises(ValueError, match="labels 3 to 3"):
        coco_ap([found([square(0)], labels=[3])], [truth([])], 1)


def test_without_pycocotools_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def no_coco(name, *args, **kwargs):
        if name.startswith("pycocotools"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_coco)
    with pytest.raises(FrcnnError, match="pip install pycocotools"):
        coco_ap([found([])], [truth([])], 1)
