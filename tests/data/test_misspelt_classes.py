"""Classes that are asked for and that no object has."""

import labelled
import pytest

from frcnn.config.schema import DataConfig
from frcnn.data import build
from frcnn.errors import DataError


def config_of(root, *classes):
    return DataConfig(dir=str(root), format="csv", train_split="train", val_split="val", classes=classes)


def test_none_that_occurs_is_an_error(tmp_path):
    labelled.csv(tmp_path)
    with pytest.raises(DataError, match="no object of the classes asked for, dgo: its objects are of"):
        build.load(config_of(tmp_path, "dgo"))


def test_a_name_near_another_is_pointed_out(tmp_path):
    labelled.csv(tmp_path)
    for classes, said in ((("cat", "dgo"), True), (("cat", "zebra"), False), (("dog", "cat"), False)):
        notes = [note for data in build.load(config_of(tmp_path, *classes)) for note in data.notes]
        assert any("no object has the class 'dgo', did you mean 'dog'" in one for one in notes) == said


def test_a_class_to_rename_that_no_object_has_is_pointed_out(tmp_path):
    labelled.csv(tmp_path)
    for rename, said in (("dgo=hound", True), ("dog=hound", False)):
        splits = {"train_split": "train", "val_split": "val"}
        config = DataConfig(dir=str(tmp_path), format="csv", rename=(rename,), **splits)
        notes = build.load(config)[0].notes
        told = "no object has the class 'dgo' to rename, did you mean 'dog'?"
        assert any(told in one for one in notes) == said
