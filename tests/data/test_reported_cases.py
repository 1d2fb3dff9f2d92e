"""Data sets that once were read wrongly, in a folder beside the repository that not everyone has."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data import image_arrays, transforms, voc
from frcnn.errors import DataError

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"

# Folder, split -> the names of its samples and images, or what the error says.
READ = {
    ("class-name-on-two-lines", "train"): {"a": "a.jpg"},
    ("image-case-twins", "train"): {"A": "A.JPG", "a": "a.jpg"},
    ("stem-twins", "train"): {"a": "a.png"},
    ("devkit-own-classes", "trainval"): "--set data.classes=raccoon",
    ("devkit-own-classes", "test"): "devkit-own-classes/VOCdevkit/VOC2007",
    ("images-folder-missing", "train"): "there is no folder JPEGImages",
    ("normalised", "train"): "corners look relative to the image's size, VOC has pixels",
    ("normalised", "corner"): "corners look relative to the image's size, VOC has pixels",
    ("objects-wrapper", "train"): "b.xml: holds a box in <bndbox> within <Object>",
    ("one-image-two-annotations", "train"): "there is no image of its own: b.jpg belongs to b.xml",
    ("trailing-number", "train"): "Annotations/cell 1.xml",
    ("trailing-number", "train2"): "Annotations/cell 1.xml",
}

# Folders whose test is with the command or the drawing that failed.
ELSEWHERE = {
    "draw-labels": "inspection/test_draw.py",
    "predict-same-stem": "scripts/test_predict.py",
}


def case(name):
    if not (CASES / name).is_dir():
        pytest.skip(f"the case {name} is not in {CASES}")
    return CASES / name


@pytest.mark.parametrize("name, split", READ, ids=map("-".join, READ))
def test_a_reported_case_ends_as_it_should(name, split):
    expected = READ[name, split]
    if isinstance(expected, dict):
        samples = voc.read(case(name), split).samples
        assert {sample.name: Path(sample.path).name for sample in samples} == expected
    else:
        with pytest.raises(DataError) as caught:
            voc.read(case(name), split)
        assert expected in str(caught.value) and len(str(caught.value).splitlines()) < 20


def test_the_class_name_on_two_lines_is_one():
    assert voc.read(case("class-name-on-two-lines"), "train").classes == ("traffic light",)


def test_the_transparent_tiff_has_pillows_pixels():
    path = case("rgba-tiff") / "a.tif"
    with Image.open(path) as image:
        np.testing.assert_array_equal(transforms.load(path), np.asarray(image.convert("RGB")))


def test_each_reported_case_has_a_test():
    if not CASES.is_dir():
        pytest.skip(f"there is no {CASES}")
    here = {name for name, _ in READ} | {"rgba-tiff", "float01"}
    assert {path.name for path in CASES.iterdir() if path.is_dir()} <= here | ELSEWHERE.keys()
    for name, file in ELSEWHERE.items():
        assert name in (Path(__file__).parents[1] / file).read_text()


def test_arrays_of_other_ranges_are_the_same_picture_or_an_error():
    """The case ``float01``: each of its arrays once gave no detections and no message."""
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype("uint8")
    image[0, 0] = 0, 128, 255
    np.testing.assert_allclose(image_arrays.to_rgb(image / 255.0), image, atol=1e-4)
    np.testing.assert_array_equal(image_arrays.to_rgb(image.astype("uint16") * 257), image)
    with pytest.raises(DataError, match="int16 numbers from -200 to 55; 0 to 255 are wanted"):
        image_arrays.to_rgb(image.astype("int16") - 200)
