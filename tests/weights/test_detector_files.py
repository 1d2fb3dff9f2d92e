"""Weight files: all weights come back, and no half file stands where a whole one stood."""

import resource

import numpy as np
import pytest

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.errors import WeightsError
from frcnn.files import safe_write
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import detector_files


@pytest.fixture
def built(small_config):
    return FasterRCNN.from_config(small_config, 4)


def all_weights(built):
    return [*built.rpn.get_weights(), *built.classifier.get_weights()]


def test_every_weight_of_both_sub_models_comes_back(built, small_config, tmp_path):
    detector_files.save(built, small_config, tmp_path / "a.weights.h5")
    other = FasterRCNN.from_config(small_config, 4)
    assert any((a != b).any() for a, b in zip(all_weights(built), all_weights(other)))
    detector_files.load(other, tmp_path / "a.weights.h5")
    for expected, found in zip(all_weights(built), all_weights(other)):
        np.testing.assert_array_equal(found, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_any_file_name_will_do_and_the_config_is_inside(built, small_config, tmp_path):
    path = tmp_path / "detector"
    detector_files.save(built, small_config, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["detector"]
    assert Config().updated_from_json(in_weights.read(path)) == small_config
    other = FasterRCNN.from_config(small_config, 4)
    detector_files.load(other, path)
    for expected, found in zip(all_weights(built), all_weights(other)):
        np.testing.assert_array_equal(found, expected)


def test_files_of_others_hold_no_config(built, tmp_path):
    built.rpn.save_weights(tmp_path / "rpn.weights.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    for name in ("rpn.weights.h5", "text.h5", "missing.h5"):
        assert in_weights.read(tmp_path / name) is None


def test_what_is_interrupted_leaves_the_old_file(built, small_config, tmp_path, monkeypatch):
    path = tmp_path / "a.weights.h5"
    detector_files.save(built, small_config, path)
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(safe_write.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector_files.save(built, small_config, path)
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_is_an_error_and_leaves_the_old_file_and_no_part(
    built, small_config, tmp_path
):
    """HDF5 itself ends the process with SIGSEGV here. The limit on files acts as a full disk does."""
    path = tmp_path / "a.weights.h5"
    detector_files.save(built, small_config, path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            detector_files.save(built, small_config, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(built, small_config, tmp_path):
    (tmp_path / "other").write_text("precious")
    path = tmp_path / "a.weights.h5"
    path.symlink_to(tmp_path / "other")
    detector_files.save(built, small_config, path)
    assert (tmp_path / "other").read_text() == "precious"
    detector_files.load(built, path)


def test_a_missing_file_is_named(built, tmp_path):
    with pytest.raises(WeightsError, match=f"there is no weight file {tmp_path / 'a.weights.h5'}"):
        detector_files.load(built, tmp_path / "a.weights.h5")


def test_weights_of_another_network_are_refused(built, small_config, tmp_path):
    detector_files.save(built, small_config, tmp_path / "a.weights.h5")
    with pytest.raises(WeightsError, match="a.weights.h5 belongs to another network.*class_logits"):
        detector_files.load(FasterRCNN.from_config(small_config, 6), tmp_path / "a.weights.h5")
    built.rpn.save_weights(tmp_path / "rpn.weights.h5")
    with pytest.raises(WeightsError, match="rpn.weights.h5 belongs to another network.*head_dense1"):
        detector_files.load(built, tmp_path / "rpn.weights.h5")
