"""The list of the splits that a run made itself."""

import labelled

from frcnn.config.schema import DataConfig
from frcnn.data import build
from frcnn.runs import made_splits


def test_made_splits_are_written_down(tmp_path):
    labelled.coco(tmp_path / "data")
    config = DataConfig(dir=str(tmp_path / "data"), train_split="train", val_split="val")
    datasets = build.load(config)
    made_splits.write(tmp_path, datasets)
    expected = [f"train,{sample.name}" for sample in datasets[0].samples]
    expected += [f"val,{sample.name}" for sample in datasets[1].samples]
    assert (tmp_path / "split.csv").read_text().splitlines() == ["split,image", *expected]
    assert len(expected) == 3


def test_splits_of_the_data_are_not(tmp_path, small_config):
    made_splits.write(tmp_path, build.load(small_config.data))
    assert not list(tmp_path.iterdir())
