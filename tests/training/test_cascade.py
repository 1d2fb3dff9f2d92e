"""Cascade R-CNN: what its stages learn, log and detect, and what its files hold."""

import csv

import keras
import numpy as np
import pytest
from test_schedules import SCHEDULES, first_batch, numpy, set_up

from frcnn import api
from frcnn.config.schema import Config
from frcnn.data import build
from frcnn.detector import Detector
from frcnn.errors import ConfigError, WeightsError
from frcnn.layers.cascade import RefineRois, StageTargetLayer
from frcnn.layers.proposals import ProposalLayer
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.models.freezing import weighted_layers
from frcnn.ops.postprocessing import postprocess
from frcnn.training.compile import compile_sub_models
from frcnn.weights import detector_files, initial

HEAD = {"head_dense1", "head_dense2", "class_logits", "box_deltas"}
HEADS = HEAD | {f"{name}_stage{number}" for name in HEAD for number in (2, 3)}
NAMES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def config(small_config):
    values = {"model.cascade_stages": 3, "optimizer.warmup_steps": 0, "model.head_dropout": 0}
    return small_config.replace(values | {"data.classes": NAMES})


@pytest.fixture(scope="module")
def batch(config):
    return first_batch(build.load(config.data)[0], config)


@pytest.fixture(scope="module")
def trained(config, batch):
    """Return {schedule: (network, schedule, its weights before, scalars of a step)}."""
    found = {}
    for kind in SCHEDULES:
        models, schedule = set_up(config, kind)
        for stage in models.cascade.stages:  # so that the boxes move
            (layer,) = (one for one in stage.layers if one.name.startswith("box_deltas"))
            layer.bias.assign([0.3, -0.2, 0.1, 0.1])
        before = weights(models)
        found[kind] = models, schedule, before, dict(schedule.train_step(batch))
    return found


def weights(models):
    return {layer.name: layer.get_weights() for layer in weighted_layers(models.detector)}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_step_trains_and_logs_every_stage(trained, kind):
    models, _, before, scalars = trained[kind]
    after = weights(models)
    assert before.keys() >= HEADS
    for name in HEADS:
        assert all((a != b).any() for a, b in zip(before[name], after[name])), name
    of_stages = [
        sum(scalars[f"classifier/{stage}{loss}"] for loss in ("loss_cls", "loss_regr"))
        for stage in ("", "stage2/", "stage3/")
    ]
    expected = np.dot([1, 0.5, 0.25], of_stages)
    np.testing.assert_allclose(scalars["classifier/loss"], expected, rtol=1e-5)
    assert 0 <= scalars["classifier/stage3/accuracy"] <= 1


def test_targets_of_the_stages_are_those_of_the_boxes_before(trained, batch):
    _, schedule, _, _ = trained["joint"]
    schedule.validation_step(batch, np.random.default_rng(0))
    out = {name: numpy(value) for name, value in schedule.outputs.items()}
    rois = out["rois"]
    for number, iou in ((2, 0.6), (3, 0.7)):
        end = "" if number == 2 else "_stage2"
        factors = np.array([10, 10, 5, 5]) * (number - 1)
        deltas = out[f"dense_regress_4{end}"]
        assert (deltas[..., :4] == deltas[..., 4:8]).all()
        rois = numpy(RefineRois(tuple(factors))(rois, deltas, batch.image_sizes))
        make = StageTargetLayer(4, iou, tuple(np.array([10, 10, 5, 5]) * number))
        y_class, y_regress = map(numpy, make(rois, batch.gt_boxes, batch.gt_labels))
        np.testing.assert_array_equal(out[f"y_class_stage{number}"], y_class)
        np.testing.assert_allclose(out[f"y_regress_stage{number}"], y_regress, atol=1e-3)


def test_detections_have_the_mean_score_and_the_last_boxes(trained, batch, config):
    models = trained["joint"][0]
    (layer,) = (layer for layer in models.detector.layers if isinstance(layer, ProposalLayer))
    inner = keras.Model(models.detector.inputs, [models.features[0], layer.output])
    features, rois = inner.predict_on_batch([batch.images, batch.image_sizes])
    scores = []
    for number, stage in enumerate(models.cascade.stages, start=1):
        of_stage, deltas = map(numpy, stage([[features], rois]))
        scores.append(of_stage)
        own = tuple(np.array([10, 10, 5, 5]) * number)
        if number < 3:
            rois = numpy(RefineRois(own)(rois, deltas, batch.image_sizes))
    section = config.detection
    options = own, section.score_threshold, section.min_size, section.nms_iou, section.max_detections
    expected = postprocess(rois, np.mean(scores, axis=0), deltas, batch.image_sizes, *options)
    found = models.detector.predict_on_batch([batch.images, batch.image_sizes])
    assert (numpy(expected[1]) > 0).any() and np.ptp(scores, axis=0).max() > 1e-3
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, numpy(other), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_it_goes_on_bit_for_bit(trained, batch, config, kind):
    _, schedule, _, _ = trained[kind]
    kept = {name: numpy(own).copy() for name, own in schedule.variables().items()}
    _, again = set_up(config, kind)
    again.restore(schedule.steps_done, kept)
    for one in (schedule, again):
        assert one.train_step(batch).applied
    found = again.variables()
    for name, value in schedule.variables().items():
        np.testing.assert_array_equal(numpy(found[name]), numpy(value), err_msg=name)


def test_a_saved_detector_has_all_stages(trained, batch, config, tmp_path):
    models = trained["alternating"][0]
    Detector(models, config, NAMES).save(tmp_path / "three.weights.h5")
    loaded = Detector.load(tmp_path / "three.weights.h5")
    for name, values in weights(models).items():
        for one, other in zip(values, weights(loaded.models)[name]):
            np.testing.assert_array_equal(one, other, err_msg=name)

    # Other classes: the output layers of all stages stay as they are.
    fresh = FasterRCNN.from_config(config, 4)
    before = weights(fresh)
    initial.load_weights(fresh.detector, tmp_path / "three.weights.h5", ("cat", "dog", "cow"))
    for name, values in weights(fresh).items():
        is_output = name.startswith(("class_logits", "box_deltas"))
        assert (values[0] == before[name][0]).all() == is_output, name


def test_a_file_of_one_head_starts_all_heads(config, tmp_path):
    one = FasterRCNN.from_config(config.replace({"model.cascade_stages": 1}), 4)
    detector_files.save(one, one.config, tmp_path / "one.weights.h5")
    three = FasterRCNN.from_config(config, 4)
    with pytest.raises(WeightsError, match="it does not fit .*class_logits_stage2"):
        detector_files.load(three, tmp_path / "one.weights.h5")
    for name in ("head_dense1_stage2", "head_dense2_stage3"):
        expected = weights(one)[name[:11]][0]
        np.testing.assert_array_equal(weights(three)[name][0], expected)


def test_what_cannot_be_is_refused(config):
    for values, says in (
        (
            {"train.schedule": "four-step"},
            "model.cascade_stages must be 1 with train.schedule=four-step",
        ),
        ({"loss.hard_examples": 4}, "loss.hard_examples must be 0 with model.cascade_stages"),
    ):
        with pytest.raises(ConfigError, match=says):
            Config().replace({"model.cascade_stages": 2} | values)
    with pytest.raises(ConfigError, match="model.cascade_stages needs a schedule of frcnn.train"):
        compile_sub_models(FasterRCNN.from_config(config, 4), config, total_steps=10)
    head = keras.Sequential([keras.Input((3, 3, 128)), keras.layers.Flatten()])
    with pytest.raises(ConfigError, match="model.cascade_stages must be 1 with a head that is a Keras"):
        FasterRCNN("tiny", 4, head=head, config=config)


def test_a_run_writes_the_losses_of_all_stages(config, tmp_path):
    result = api.train(
        config=config.replace({"train.epochs": 1, "train.steps_per_epoch": 1}), out=tmp_path / "run"
    )
    with open(result.run_dir / "metrics.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    for run in ("train", "validation"):
        for tag in ("stage2/loss_cls", "stage3/loss_regr", "stage3/accuracy"):
            assert float(row[f"{run}/classifier/{tag}"]) >= 0.0
