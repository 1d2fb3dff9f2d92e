"""A part of the training images of a VOC folder, and everything else of it."""

from benchmark import few_images

from frcnn.config.schema import DataConfig
from frcnn.data import build


def test_one_of_three_training_images_and_all_others(tmp_path, shapes_folder):
    few_images.make(shapes_folder, "train", 3, tmp_path / "few")
    splits = {"train_split": "train", "val_split": "val"}
    all_train, all_val = build.load(DataConfig(dir=str(shapes_folder), **splits))
    train, val = build.load(DataConfig(dir=str(tmp_path / "few"), **splits))
    assert train.classes == all_train.classes
    assert [one.name for one in train.samples] == [one.name for one in all_train.samples[::3]]
    assert [one.name for one in val.samples] == [one.name for one in all_val.samples]
