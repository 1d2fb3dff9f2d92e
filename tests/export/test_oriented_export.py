"""A detector of oriented boxes as a file, against the Keras detector."""

import numpy as np
import pytest
import tensorflow as tf
from export.export_files import FILES, skip_without

from frcnn.cli import predict
from frcnn.data import oriented
from frcnn.data.transforms import load
from frcnn.detector import Detector
from frcnn.errors import ConfigError
from frcnn.export import check, exporter, resizing
from frcnn.models.faster_rcnn import FasterRCNN


@pytest.fixture(scope="module")
def turned(small_config):
    """Return a detector of oriented boxes with random weights."""
    changes = {"box.kind": "oriented", "model.weights": "none", "rpn.post_nms_test": 30}
    config = small_config.replace(changes | {"data.classes": ("disc", "box", "star")})
    return Detector(FasterRCNN.from_config(config), config, config.data.classes)


@pytest.mark.parametrize("resizes", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["saved_model", *(pytest.param(name, marks=pytest.mark.slow) for name in ("onnx", "litert"))]
)
def test_a_file_finds_the_same(turned, photos, tmp_path, name, resizes):
    skip_without(name)
    report, path = exporter.export(turned, name, tmp_path / FILES[name], photos[:2], resizes=resizes)
    assert not report.faults() and report.agreement.detections > 20
    image = load(photos[0])
    images = [image, np.concatenate([image] * 2)]  # one that is made smaller to fit
    for own, found in zip(turned.predict(images), Detector.load(path).predict(images)):
        assert found["oriented"].shape == (len(found["scores"]), 5)
        np.testing.assert_allclose(oriented.outer(found["oriented"]), found["boxes"], atol=1e-3)
        assert abs(len(found["scores"]) - len(own["scores"])) < 10
    assert predict.main([str(path), photos[0], "--out", str(tmp_path / "drawn")]) == 0


def test_openvino_is_refused_in_one_line(turned, photos, tmp_path):
    with pytest.raises(ConfigError, match="export with --format onnx, litert or saved_model$"):
        exporter.export(turned, "openvino", tmp_path / "d.xml", photos)


def test_boxes_are_stretched_inside_a_file_as_outside():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(0, 90, (20, 4)), rng.uniform(-3, 3, 20)]).astype("float32")
    factors = np.array([0.51, 0.49], "float32")
    expected = oriented.stretch(boxes, 1 / factors)
    found = resizing.unscaled(tf.constant(boxes[None]), tf.constant(factors))[0].numpy()
    np.testing.assert_allclose(oriented.corners(found), oriented.corners(expected), atol=1e-3)


def test_the_comparison_sees_the_angle():
    def found(*box):
        turned = np.array([box], "float32")
        own = {"oriented": turned, "boxes": oriented.outer(turned)}
        return [own | {"scores": np.array([0.9]), "labels": np.array([0])}]

    one = found(50, 50, 60, 6, 0.7)
    assert check.compare(one, found(50, 50, 6, 60, 0.7 - np.pi / 2)).strays == 0  # the same rectangle
    assert check.compare(one, found(50, 50, 60, 6, -0.7)).strays == 2
