"""Both splits of a data set, with one list of classes."""

import re
import shutil

import labelled
import pytest

from frcnn.config.schema import Config, DataConfig
from frcnn.data import build, shapes
from frcnn.data.recognise import recognise
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


def test_objects_of_other_classes_than_the_configs_are_dropped_and_counted(shapes_folder):
    config = DataConfig(
        dir=str(shapes_folder),
        train_split="train",
        val_split="val",
        classes=("circle", "shape"),
        rename=("triangle=shape",),
    )
    train, val = build.load(config)
    everything, _ = build.load(config.replace(classes=(), rename=()))
    squares = sum(int((sample.labels == 1).sum()) for sample in everything.samples)
    assert train.dropped == (("square", squares),)
    kept = sum(len(sample.labels) for sample in train.samples)
    assert kept == sum(len(sample.labels) for sample in everything.samples) - squares
    assert val.classes == ("circle", "shape")


@pytest.mark.parametrize("name", labelled.WRITERS)
def test_a_folder_of_any_format_is_trained_on(tmp_path, name):
    labelled.WRITERS[name](tmp_path)
    settings, text = recognise(tmp_path)
    assert settings["data.format"] == name and f"in the format {name}" in text
    train, val = build.load(Config().replace(settings).data)
    assert (len(train), len(val)) == (2, 1) and train.classes == val.classes
    assert "chosen by the hash" in train.summary()


def test_labels_are_read_in_the_format_that_is_asked_for(tmp_path):
    labelled.coco(tmp_path)
    labelled.voc_flat(tmp_path / "images")
    assert recognise(tmp_path)[0]["data.format"] == "coco"
    settings, _ = recognise(tmp_path, format="voc-flat")
    assert settings["data.format"] == "voc-flat"
    train, _ = build.load(Config().replace(settings).data)
    assert all(sample.name.startswith("images/") for sample in train.samples)


def test_a_class_that_one_split_lacks_is_pointed_out(tmp_path):
    for split, class_name in (("train", "cat"), ("val", "dog")):
        labelled.images(tmp_path / split, "a")
        labelled.write(tmp_path, f"{split}.csv", f"{split}/a.jpg,1,1,9,9,{class_name}")
    config = DataConfig(dir=str(tmp_path), train_split="train", val_split="val", classes=("cat", "dog"))
    _, val = build.load(config)
    assert [note.partition(" has ")[2] for note in val.notes] == [
        "no object of the classes dog",
        "no object of the classes cat",
    ]


def test_a_fault_in_training_and_fewer_classes_in_validation_is_the_faults_error(tmp_path):
    """The splits then bring lists of classes of their own, of unequal lengths."""
    shapes.make(tmp_path / "data", {"train": 6, "val": 1}, seed=1)
    annotations = tmp_path / "data" / "Annotations"
    for path in annotations.glob("val*"):
        path.write_text(re.sub("circle|square|triangle", "circle", path.read_text()))
    (annotations / "train_000000.xml").write_text("<annotation>")
    with pytest.raises(DataError, match="train_000000"):
        build.load(DataConfig(dir=str(tmp_path / "data"), train_split="train", val_split="val"))


def test_clip_is_for_voc_folders_too(tmp_path):
    shapes.make(tmp_path / "data", {"train": 1, "val": 1}, seed=1)
    path = tmp_path / "data" / "Annotations" / "train_000000.xml"
    wide = re.sub("<xmax>[0-9]+<", "<xmax>262<", path.read_text(), count=1)
    path.write_text(re.sub("<xmin>[0-9]+<", "<xmin>2<", wide, count=1))
    config = DataConfig(
        dir=str(tmp_path / "data"), train_split="train", val_split="val", classes=shapes.CLASSES
    )
    with pytest.raises(DataError, match="reaches out of the"):
        build.load(config)
    train, _ = build.load(config.replace(on_bad_data="clip"))
    ((name, what),) = train.clipped
    assert name == "train_000000" and "box 1: clipped to the" in what


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
    config, advice = DataConfig(dir=str(shapes_folder)), "the detector has no such class"
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
