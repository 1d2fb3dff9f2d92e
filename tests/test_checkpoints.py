"""Checkpoints: all weights come back, and no half file stands where a whole one stood."""

import numpy as np
import pytest

from frcnn import checkpoints, models
from frcnn.errors import WeightsError


@pytest.fixture
def built(small_config):
    return models.build(small_config, 3)


def all_weights(built):
    return [*built.rpn.get_weights(), *built.classifier.get_weights()]


def test_every_weight_of_both_sub_models_comes_back(built, small_config, tmp_path):
    checkpoints.save(built, tmp_path / "a.weights.h5")
    other = models.build(small_config, 3)
    assert any((a != b).any() for a, b in zip(all_weights(built), all_weights(other)))
    checkpoints.load(other, tmp_path / "a.weights.h5")
    for expected, found in zip(all_weights(built), all_weights(other)):
        np.testing.assert_array_equal(found, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_what_is_interrupted_leaves_the_old_file(built, tmp_path, monkeypatch):
    path = tmp_path / "a.weights.h5"
    checkpoints.save(built, path)
    before = path.read_bytes()

    def interrupted(part):
        part.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(built.detector, "save_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(built, path)
    assert path.read_bytes() == before


def test_a_missing_file_is_named(built, tmp_path):
    with pytest.raises(WeightsError, match=f"there is no weight file {tmp_path / 'a.weights.h5'}"):
        checkpoints.load(built, tmp_path / "a.weights.h5")


def test_weights_of_another_network_are_refused(built, small_config, tmp_path):
    checkpoints.save(built, tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match="a.weights.h5 is of another network.*class_logits"):
        checkpoints.load(models.build(small_config, 5), tmp_path / "a.weights.h5")
    built.rpn.save_weights(tmp_path / "rpn.weights.h5")
    with pytest.raises(WeightsError, match="rpn.weights.h5 is of another network.*head_dense1"):
        checkpoints.load(built, tmp_path / "rpn.weights.h5")
