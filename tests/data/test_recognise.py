"""What ``frcnn train FOLDER`` takes a folder for, and the splits that it chooses."""

import argparse

import pytest

from frcnn.cli.common import take_folder
from frcnn.data.recognise import recognise
from frcnn.errors import ConfigError, DataError


def make_voc(root, *splits):
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split in splits:
        (root / f"ImageSets/Main/{split}.txt").write_text("a\n")
    return root


def splits_of(settings):
    return settings["data.train_split"], settings["data.val_split"]


@pytest.mark.parametrize(
    "there, expected",
    [
        (("trainval", "test"), ("trainval", "test")),
        (("train", "val"), ("train", "val")),
        (("train", "test"), ("train", "test")),
        (("train", "val", "test"), ("train", "val")),
        (("train", "val", "trainval", "test"), ("trainval", "test")),
        (("train", "val", "trainval"), ("train", "val")),
    ],
)
def test_the_splits_of_a_voc_folder(there, expected, tmp_path):
    settings, text = recognise(make_voc(tmp_path, *there))
    assert splits_of(settings) == expected
    assert settings["data.dataset"] == "voc" and settings["data.dir"] == str(tmp_path)
    assert f"training on {expected[0]}, validation on {expected[1]}" in text


@pytest.mark.parametrize("there", [(), ("train",), ("trainval",), ("test",), ("trainval", "val")])
def test_a_folder_without_a_pair_of_splits(there, tmp_path):
    with pytest.raises(
        DataError, match="expected trainval and test, or train and val: name them"
    ) as error:
        recognise(make_voc(tmp_path, *there))
    assert all(name in str(error.value) for name in there)


@pytest.mark.parametrize(
    "there, given, expected",
    [
        (("trainval", "train", "val", "test"), (None, "val"), ("train", "val")),
        (("trainval", "train", "val", "test"), ("train", None), ("train", "val")),
        (("trainval", "test"), ("trainval", None), ("trainval", "test")),
        (("trainval", "test"), ("mine", None), ("mine", "test")),
        (("train", "val"), (None, "mine"), ("train", "mine")),
        (("a", "b"), ("a", "b"), ("a", "b")),
    ],
)
def test_a_split_that_the_caller_names(there, given, expected, tmp_path):
    settings, _ = recognise(make_voc(tmp_path, *there), *given)
    assert splits_of(settings) == expected


@pytest.mark.parametrize("given", [(None, "val"), ("test", None)])
def test_a_named_split_never_gets_a_partner_with_its_images(given, tmp_path):
    """``val`` is part of ``trainval``; nothing validates a detector that is trained on ``test``."""
    with pytest.raises(DataError, match="name them"):
        recognise(make_voc(tmp_path, "trainval", "val", "test"), *given)


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_a_devkit(year, tmp_path):
    make_voc(tmp_path / f"VOCdevkit/VOC{year}", "trainval")
    settings, text = recognise(tmp_path)
    assert settings == {"data.dataset": "voc", "data.dir": str(tmp_path), "data.format": "voc"}
    assert text == f"data: {tmp_path} is a VOC devkit"
    assert recognise(tmp_path, "train", "val")[0]["data.val_split"] == "val"


def test_folders_that_cannot_be_read_say_what_they_look_like(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    sets, other = tmp_path / "sets", tmp_path / "other"
    make_voc(sets / "cards", "train", "val")
    other.mkdir()
    expected = {
        tmp_path / "none": f"there is no folder {tmp_path / 'none'}",
        file: f"{file} is no folder but a file",
        "": "the name of the data's folder is empty",
        sets: f"it holds cards/; {sets / 'cards'} is a VOC folder: name that one",
        other: f"{other} holds no labels in a known format (voc, coco, cvat, yolo, csv, dota, labelme, "
        "voc-flat), nor VOCdevkit; it holds nothing",
    }
    for folder, text in expected.items():
        with pytest.raises(DataError) as error:
            recognise(folder)
        assert text in str(error.value) and "\n" not in str(error.value)


OPTIONS = {"dataset": "data.dataset", "data_dir": "data.dir", "train": "data.train_split"}


def arguments(**given):
    names = ("data", "dataset", "data_dir", "format", "train")
    return argparse.Namespace(**dict.fromkeys(names) | given)


def test_the_argument_folder_stands_for_the_options(tmp_path):
    given = arguments(data=str(make_voc(tmp_path, "train", "val")))
    (text,) = take_folder(given, OPTIONS)
    assert (given.dataset, given.data_dir, given.train) == ("voc", str(tmp_path), "train")
    assert "is a VOC folder" in text


def test_without_the_argument_nothing_changes():
    given = arguments(dataset="shapes")
    assert take_folder(given, OPTIONS) == [] and given == arguments(dataset="shapes")


@pytest.mark.parametrize("name", ["dataset", "data_dir"])
def test_the_argument_and_an_option_name_the_data(name, tmp_path):
    given = arguments(data=str(tmp_path), **{name: "x"})
    with pytest.raises(ConfigError, match=f"and --{name.replace('_', '-')} both name the data"):
        take_folder(given, OPTIONS)
