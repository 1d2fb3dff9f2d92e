"""Both splits of a data set, with one list of classes."""

import re
import shutil

import pytest

from frcnn.config.schema import DataConfig
from frcnn.data import build, shapes
from frcnn.errors import DataError


def test_a_bare_voc_folder(shapes_folder):
    config = DataConfig(dir=str(shapes_folder), train_split="train", val_split="val")
    train, val = build.load(config)
    assert (len(train), len(val)) == (8, 4)
    assert train.classes == val.classes == ("circle", "square", "triangle")


def test_the_configs_classes_give_the_order(shapes_folder):
    classes = ("triangle", "square", "circle", "star")
    config = DataConfig(dir=str(shapes_folder), train_split="train", val_split="val", classes=classes)
    train, val = build.load(config)
    assert train.classes == val.classes == classes
    with pytest.raises(DataError, match="unknown class 'triangle'"):
        build.load(DataConfig(**{**vars(config), "classes": ("circle", "square")}))


def test_validation_has_the_classes_of_training(tmp_path):
    shapes.make(tmp_path / "data", {"train": 1, "val": 12}, seed=1)
    for path in (tmp_path / "data" / "Annotations").glob("train*"):
        path.write_text(path.read_text().replace("square", "circle").replace("triangle", "circle"))
    config = DataConfig(dir=str(tmp_path / "data"), train_split="train", val_split="val")
    with pytest.raises(DataError, match="unknown class '(square|triangle)'; expected one of circle"):
        build.load(config)


def test_labels_of_validation_are_those_of_training(tmp_path):
    """Where validation lacks the class that comes first, its own labels would start one too low."""
    shapes.make(tmp_path / "data", {"train": 12, "val": 6}, seed=1)
    for path in (tmp_path / "data" / "Annotations").glob("val*"):
        path.write_text(path.read_text().replace("circle", "triangle"))
    _, val = build.load(DataConfig(dir=str(tmp_path / "data"), train_split="train", val_split="val"))
    assert val.classes == ("circle", "square", "triangle")
    for sample in val.samples:
        text = (tmp_path / "data" / "Annotations" / f"{sample.name}.xml").read_text()
        names = re.findall("<object>\\s*<name>(.*)</name>", text)
        assert [val.classes[label] for label in sample.labels] == names


def test_shapes_are_made_once_under_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "SPLITS", {"train": 3, "val": 2})
    config = DataConfig(dataset="shapes", dir=str(tmp_path), train_split="train", val_split="val")
    train, val = build.load(config)
    assert (len(train), len(val)) == (3, 2)
    made = (tmp_path / "shapes" / "JPEGImages" / "val_000000.jpg").stat().st_mtime_ns
    build.load(config)
    assert (tmp_path / "shapes" / "JPEGImages" / "val_000000.jpg").stat().st_mtime_ns == made


@pytest.mark.parametrize("name", ["Annotations", "VOC2007"])
def test_shapes_are_not_drawn_into_other_data(tmp_path, name):
    (tmp_path / name).mkdir()
    config = DataConfig(dataset="shapes", dir=str(tmp_path), train_split="train", val_split="val")
    with pytest.raises(DataError, match=f"holds other data \\({name}\\).*--data-dir.*--dataset voc"):
        build.load(config)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_data_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match="frcnn download voc2007"):
        build.load(DataConfig(dir=str(tmp_path)))
    with pytest.raises(DataError, match="frcnn download voc2007 voc2012"):
        build.load(DataConfig(dir=str(tmp_path), year="07+12"))


def test_an_unknown_split_names_those_there_are(shapes_folder):
    with pytest.raises(DataError, match="tain.txt does not exist; the splits there are: train, val"):
        build.load(DataConfig(dir=str(shapes_folder), train_split="tain", val_split="val"))


def test_what_to_do_about_an_unknown_class_is_the_callers_to_say(shapes_folder):
    config, advice = DataConfig(dir=str(shapes_folder)), "the detector knows no such class"
    with pytest.raises(DataError, match=f"expected one of circle, square(.|\n)*{advice}"):
        build.load_split(config, "val", ("circle", "square"), advice=advice)


def test_the_fingerprint_tells_other_contents_of_a_file_and_not_another_place(shapes_folder, tmp_path):
    def fingerprint(folder):
        config = DataConfig(dir=str(folder), train_split="train", val_split="val")
        return build.load(config)[0].fingerprint()

    first = fingerprint(shapes_folder)
    copy = shutil.copytree(shapes_folder, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert fingerprint(copy) == first
    image = sorted((copy / "JPEGImages").glob("train_*"))[3]
    content = bytearray(image.read_bytes())
    for place in (0x200, len(content) - 8):  # as many bytes, other pixels
        spoilt = content.copy()
        spoilt[place] ^= 1
        image.write_bytes(spoilt)
        assert fingerprint(copy) != first
        # What annotations say has not changed, and an earlier version's checkpoint says no more.
        assert fingerprint(copy).partition(", files")[0] == first.partition(", files")[0]
    image.write_bytes(content)
    assert fingerprint(copy) == first
    dataset = build.load(DataConfig(dir=str(copy), train_split="train", val_split="val"))[0]
    image.unlink()
    with pytest.raises(DataError, match=f"{image} cannot be read: No such file"):
        dataset.fingerprint()
