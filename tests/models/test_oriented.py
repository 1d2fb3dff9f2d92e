"""A whole detector of oriented boxes: its shapes, what it learns, what it finds, and its metric."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from train_steps import CONFIG

from frcnn.data import oriented
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.detections import to_image_pixels
from frcnn.data.loader import Batch
from frcnn.data.sample import Sample
from frcnn.detector import Detector
from frcnn.errors import ConfigError
from frcnn.evaluation.evaluator import classify_labels
from frcnn.evaluation.voc_ap import voc_ap
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.joint import Joint

ORIENTED = CONFIG.replace(
    {
        "box.kind": "oriented",
        "train.schedule": "joint",
        "optimizer.warmup_steps": 0,
        "rpn.post_nms_train": 60,
        "rpn.post_nms_test": 30,
        "roi.samples": 32,
    }
)
BARS = np.array([[[24, 24, 32, 14, 0.6], [56, 42, 30, 15, -0.8]]], "float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return FasterRCNN.from_config(ORIENTED, 3)


@pytest.fixture(scope="module")
def batch(model):
    """Return an image of two bright bars of two classes, with their targets."""
    cv2 = pytest.importorskip("cv2")
    image = np.full((64, 80, 3), 40, "uint8")
    for box, colour in zip(BARS[0], ((220, 220, 60), (60, 220, 220))):
        corners = cv2.boxPoints((box[:2].tolist(), box[2:4].tolist(), math.degrees(box[4])))
        cv2.fillPoly(image, [np.rint(corners).astype(int)], colour)
    made = Batch(
        image[None],
        np.array([[64, 80]], "float32"),
        BARS,
        np.array([[0, 1]], "int32"),
        np.ones(1, "float32"),
        (),
    )
    creator = AnchorTargetCreator(model.anchor_generator, ORIENTED.rpn, model.kind)
    made.__dict__["targets"] = creator(made, np.random.default_rng(0))
    return made


def test_six_numbers_per_anchor_and_five_per_class(model):
    assert model.rpn.get_layer("rpn_deltas").filters == 6 * model.num_anchors
    assert model.classifier.get_layer("box_deltas").units == 5 * 2
    assert model.classifier.inputs[1].shape == (None, None, 5)
    assert model.detector.outputs[0].shape[1:] == (ORIENTED.detection.max_detections, 5)


def test_an_untrained_rpn_starts_at_axis_aligned_boxes(model):
    bias = model.rpn.get_layer("rpn_deltas").bias.numpy().reshape(-1, 6)
    np.testing.assert_array_equal(bias, np.tile([0, 0, 0, 0, 1, 1], (model.num_anchors, 1)))


def test_an_image_without_objects_has_targets(model, batch):
    empty = dataclasses.replace(batch, gt_labels=np.full((1, 2), -1, "int32"), targets=None)
    creator = AnchorTargetCreator(model.anchor_generator, ORIENTED.rpn, model.kind)
    targets = creator(empty, np.random.default_rng(0))
    assert not targets.y_regress.any() and targets.y_class.any()


def test_a_step_has_finite_losses_and_a_detector_finite_boxes(model, batch):
    scalars = Joint(model, ORIENTED, 2).train_step(batch)
    assert np.isfinite([value for tag, value in scalars.items() if "loss" in tag]).all()
    boxes, scores, _ = model.detector.predict_on_batch([batch.images, batch.image_sizes])
    assert np.isfinite(boxes).all() and (boxes[scores > 0][:, 2:4] > 0).all()


@pytest.mark.slow  # 600 steps
def test_it_learns_the_boxes_of_an_image(model, batch):
    schedule = Joint(model, ORIENTED, 800)
    losses = [schedule.train_step(batch)["total_loss"] for _ in range(640)]
    assert losses[-1] < 0.2 * losses[0]
    boxes, scores, labels = model.detector.predict_on_batch([batch.images, batch.image_sizes])
    (found,) = to_image_pixels(boxes, scores, labels, batch.image_sizes, [(64, 80)])
    truth = {"boxes": np.zeros((2, 4)), "oriented": BARS[0], "labels": [0, 1], "difficult": [False] * 2}
    assert voc_ap([found], [truth], 2, oriented=True).mean_ap == 1.0


def test_the_metric_takes_the_overlap_of_oriented_boxes():
    """Two bars that cross have the same outer box, and overlap little."""
    box, crossing = np.array([[30, 30, 40, 4, 0.7]]), np.array([[30, 30, 40, 4, -0.7]])
    outer = np.array([[13.5, 15.6, 46.6, 44.4]])
    truth = {"boxes": outer, "labels": [0], "difficult": [False]}
    found = {"boxes": outer, "labels": [0], "scores": [0.9], "oriented": crossing}
    assert voc_ap([found], [truth], 1).mean_ap == 1.0
    assert voc_ap([found], [truth | {"oriented": box}], 1, oriented=True).mean_ap == 0.0
    right = found | {"oriented": box}
    assert voc_ap([right], [truth | {"oriented": box}], 1, oriented=True).mean_ap == 1.0


def test_detections_without_angles_count_with_angle_zero():
    truth = {"boxes": [[0, 0, 10, 4]], "oriented": np.array([[5, 2, 10, 4, 0.0]]), "labels": [0]}
    truth["difficult"] = [False]
    found = {"boxes": np.array([[0, 0, 10, 4]]), "labels": [0], "scores": [0.9]}
    assert voc_ap([found], [truth], 1, oriented=True).mean_ap == 1.0


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"model.pooling": "roi_pool"}, "model.pooling=roi_align"),
        ({"model.pool_aligned": "false"}, "model.pool_aligned=true"),
        ({"loss.box": "giou"}, "loss.box=smooth_l1"),
    ],
)
def test_settings_that_oriented_boxes_do_not_allow(setting, message):
    with pytest.raises(ConfigError, match=message):
        ORIENTED.replace(setting)


def test_labelled_boxes_are_classified(model, batch):
    sample = Sample(
        "a", "", 80, 64, np.zeros((2, 4)), np.array([0, 1]), np.zeros(2, bool), oriented=BARS[0]
    )
    labelled = dataclasses.replace(batch, samples=(sample,))
    (scores,) = classify_labels(Detector(model, ORIENTED, ("a", "b")), labelled)
    expected = model.classifier.predict_on_batch([batch.images, BARS])[0][0]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("how", ["tiles", "flip", "sizes"])
def test_detections_of_tiles_and_views_have_angles(model, batch, how):
    changes = {"flip": {"detection.flip": "true"}, "sizes": {"detection.short_sides": "48,64"}}
    detector = Detector(model, ORIENTED.replace(changes.get(how, {})), ("a", "b"))
    (found,) = detector.predict(batch.images[0], tile=40 if how == "tiles" else None)
    assert found["oriented"].shape == (len(found["scores"]), 5)
    np.testing.assert_allclose(oriented.outer(found["oriented"]), found["boxes"], atol=1e-3)
