"""A detector and images for the tests of this folder."""

import pytest

from frcnn.detector import Detector
from frcnn.models.faster_rcnn import FasterRCNN


@pytest.fixture(scope="module")
def detector(small_config):
    """Return a detector of random weights, most of whose scores pass the threshold."""
    config = small_config.replace({"model.weights": "none", "data.classes": ("disc", "box", "star")})
    return Detector(FasterRCNN.from_config(config), config, config.data.classes)


@pytest.fixture(scope="module")
def photos(shapes_folder):
    """Return the paths of four images."""
    return sorted(str(path) for path in (shapes_folder / "JPEGImages").iterdir())[:4]
