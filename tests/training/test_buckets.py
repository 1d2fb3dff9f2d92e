"""Shape buckets: few shapes, and no more traces than there are. ``test_jax.py`` has the same on JAX."""

import dataclasses

import bucket_steps
import numpy as np
import pytest

from frcnn.config.schema import Config, DataConfig
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training import train


@pytest.mark.parametrize("multiple, most", [(48, 2), (0, 8)])
def test_a_step_is_traced_once_whatever_the_buckets(multiple, most):
    """With TensorFlow, which leaves the sizes open from the start."""
    found = bucket_steps.results(multiple)
    assert found["sizes"] == 8 and found["steps"] == 16
    assert 2 <= found["shapes"] <= most and found["traces"] == 1


@pytest.mark.parametrize("wanted, own", [(0, 8), (1, 8), (8, 8), (9, 16), (64, 64), (100, 104)])
def test_sides_are_multiples_of_the_networks_own_that_reach_the_one_wanted(small_config, wanted, own):
    assert (
        FasterRCNN.from_config(small_config.replace({"data.pad_multiple": wanted}), 4).size_multiple
        == own
    )


def test_boxes_are_padded_to_the_most_of_any_image(tmp_path):
    dataset = bucket_steps.random_images(tmp_path, 6)
    counts = [len(sample.boxes) for sample in dataset.samples]
    for multiple, expected in ((32, {-(-max(counts) // 8) * 8}), (0, {-(-n // 8) * 8 for n in counts})):
        config = DataConfig(short_side=48, long_side=96, pad_multiple=multiple)
        batches = list(DataLoader(dataset, config, 32).epoch())
        assert {batch.gt_boxes.shape[1] for batch in batches} == expected
        assert sorted((batch.gt_labels >= 0).sum() for batch in batches) == sorted(counts)
    assert min(counts) <= 8 < max(counts)
    none = np.zeros((0, 4), "float32"), np.zeros(0, "int32"), np.zeros(0, bool)
    empty = dict(zip(("boxes", "labels", "difficult"), none))
    samples = tuple(dataclasses.replace(sample, **empty) for sample in dataset.samples)
    config = DataConfig(short_side=48, long_side=96, pad_multiple=32)
    batches = DataLoader(Dataset("empty", ("a",), samples), config, 32).epoch()
    assert {batch.gt_boxes.shape[1] for batch in batches} == {8}


def test_only_xla_pads_further_by_default(monkeypatch):
    wide = Config(data={"pad_multiple": 96})
    assert train.pad_multiple(Config()) == 0
    assert train.pad_multiple(Config(train={"xla": True})) == 60
    assert train.pad_multiple(wide) == 96
    monkeypatch.setattr(train.backend, "IS_TENSORFLOW", False)
    assert train.pad_multiple(Config()) == 60
    assert train.pad_multiple(wide) == 96


def test_the_setting_must_not_be_below_0():
    with pytest.raises(ConfigError, match="data.pad_multiple must be a whole number from 0"):
        Config().replace({"data.pad_multiple": -1})
