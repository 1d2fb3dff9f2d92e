"""Written labels of one image, read back with our readers."""

import numpy as np
import pytest
from PIL import Image

from frcnn.data import formats, write_voc, write_yolo

SIZE = (4001, 2999)
BOXES = np.array([[0, 0, 4001, 2999], [10.37, 5.123, 1333.333, 900], [7, 8, 9, 10]])
NAMES = ['a <b> & "c"', "\u732b", "dog"]


@pytest.fixture
def image(tmp_path):
    Image.new("L", SIZE).save(tmp_path / "a.png")
    return tmp_path


def read(root):
    dataset, faults = formats.collect(root, "all")
    assert not faults
    (sample,) = dataset.samples
    return sample, [dataset.classes[label] for label in sample.labels]


@pytest.mark.parametrize("scores", [None, [0.9, 0.5, 0.1]])
def test_voc_is_read_back(image, scores):
    text = write_voc.annotation("a.png", *SIZE, BOXES, NAMES, [False, True, False], scores)
    (image / "a.xml").write_text(text, encoding="utf-8")
    sample, names = read(image)
    np.testing.assert_allclose(sample.boxes, BOXES, atol=1e-3)
    assert names == NAMES and sample.difficult.tolist() == [False, True, False]
    assert "<xmin>8</xmin>" in text and "<ymax>10</ymax>" in text  # 1-based, inclusive
    assert ("<score>0.5</score>" in text) == (scores is not None)


def test_yolo_is_read_back(image):
    (image / "classes.txt").write_text("one\ntwo\nthree\n")
    (image / "a.txt").write_text(write_yolo.lines(*SIZE, BOXES, [2, 0, 1]))
    sample, names = read(image)
    np.testing.assert_allclose(sample.boxes, BOXES, atol=1e-3)
    assert names == ["three", "one", "two"]


def test_yolo_has_the_score_last():
    assert write_yolo.lines(40, 30, [[10, 3, 30, 9]], [2], [0.875]) == "2 0.5 0.2 0.5 0.2 0.875\n"


def test_an_image_without_boxes_has_an_empty_file_and_an_annotation(image):
    assert write_yolo.lines(*SIZE, np.zeros((0, 4)), []) == ""
    (image / "a.xml").write_text(write_voc.annotation("a.png", *SIZE, [], []))
    sample, _ = read(image)
    assert sample.boxes.shape == (0, 4)


def test_what_xml_cannot_hold_is_replaced():
    text = write_voc.annotation("a\x01\udcff.png", 4, 3, [[0, 0, 2, 2]], ["b\x00"])
    text.encode("utf-8")
    assert "<filename>a\ufffd\ufffd.png</filename>" in text and "<name>b\ufffd</name>" in text
