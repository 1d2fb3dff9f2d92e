"""From a run's folder to boxes in a picture's own pixels."""

import types

import numpy as np
import pytest
from PIL import Image

from frcnn import checkpoints, models
from frcnn.config import preset
from frcnn.detector import Detector
from frcnn.errors import ConfigError, DataError, WeightsError


class FourBoxes:
    """Stands in for ``models.detector``: always two detections and two rows of padding."""

    def predict_on_batch(self, inputs):
        self.images, self.sizes = inputs
        batch = len(self.images)
        boxes = np.array([[0, 0, 120, 80], [30, 20, 60, 40], [0, 0, 0, 0], [0, 0, 0, 0]], "float32")
        scores, labels = np.array([0.9, 0.6, 0, 0], "float32"), np.array([1, 0, -1, -1], "int32")
        return [np.stack([one] * batch) for one in (boxes, scores, labels)]


@pytest.fixture
def network():
    return FourBoxes()


@pytest.fixture
def detector(network):
    """Return a detector that resizes to a short side of 80 and a long side of 120 at most."""
    config = preset("shapes").replace({"data.short_side": 80, "data.long_side": 120})
    return Detector(types.SimpleNamespace(detector=network, stride=16), config, ["cat", "dog"])


def test_boxes_come_in_the_pixels_of_each_image(detector, network):
    wide = np.full((160, 240, 3), 7, "uint8")
    (result,) = detector.predict([wide])
    np.testing.assert_allclose(result["boxes"], [[0, 0, 240, 160], [60, 40, 120, 80]])
    np.testing.assert_allclose(result["scores"], [0.9, 0.6])
    assert result["labels"].tolist() == [1, 0] and result["names"] == ["dog", "cat"]
    # Resized by a half, then padded to the stride.
    assert network.images.shape == (1, 80, 128, 3) and network.sizes.tolist() == [[80, 120]]


def test_both_axes_are_stretched_by_their_own_factor(detector, network):
    (result,) = detector.predict([np.zeros((100, 333, 3), "uint8")])
    assert network.sizes.tolist() == [[36, 120]]
    np.testing.assert_allclose(
        result["boxes"][1], [30 * 333 / 120, 20 * 100 / 36, 60 * 333 / 120, 40 * 100 / 36], rtol=1e-6
    )


def test_images_of_many_sizes_and_from_files(detector, tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    results = detector.predict(
        [np.zeros((160, 240, 3), "uint8"), str(tmp_path / "a.png"), tmp_path / "a.png"]
    )
    assert [result["boxes"][0].tolist() for result in results] == [
        [0, 0, 240, 160],
        [0, 0, 60, 40],
        [0, 0, 60, 40],
    ]
    assert detector.predict([]) == []
    with pytest.raises(DataError, match="missing.png"):
        detector.predict([tmp_path / "missing.png"])


def test_the_validations_batches_are_taken_as_they_are(detector):
    images, sizes = np.zeros((2, 80, 128, 3), "uint8"), np.array([[80, 120], [80, 60]], "float32")
    first, second = detector.detect(images, sizes, [(160, 240), (80, 60)])
    np.testing.assert_allclose(first["boxes"][0], [0, 0, 240, 160])
    np.testing.assert_allclose(second["boxes"][1], [30, 20, 60, 40])


def test_a_run_is_loaded_with_its_classes_and_weights(small_config, tmp_path):
    config = small_config.replace({"data.classes": "circle,square,triangle"})
    built = models.build(config, 3)
    (tmp_path / "config.json").write_text(config.to_json())
    checkpoints.save(built, tmp_path / "best.weights.h5")
    loaded = Detector.load(tmp_path)
    assert loaded.classes == ("circle", "square", "triangle") and loaded.config == config
    for ours, theirs in zip(built.detector.get_weights(), loaded.models.detector.get_weights()):
        np.testing.assert_array_equal(theirs, ours)
    with pytest.raises(WeightsError, match="last.weights.h5"):
        Detector.load(tmp_path, "last.weights.h5")


def test_what_is_no_run_is_named(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ConfigError, match=f"{folder} is not a training run: it has no config.json"):
            Detector.load(folder)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json is not JSON"):
        Detector.load(tmp_path)
