"""The models of one config: shared layers, the design's names and shapes, and what they compute."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from support import at_once
from train_steps import CONFIG, Batch, made_models

from frcnn.config import presets
from frcnn.config import schema as configs
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.errors import ConfigError
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops import anchors as anchor_ops
from frcnn.ops import boxes as box_ops
from frcnn.ops import losses
from frcnn.ops.postprocessing import postprocess
from frcnn.ops.proposals import propose
from frcnn.ops.sampling import random_order
from frcnn.training.compile import compile_sub_models

A, C = 9, 4
ROIS = np.array(
    [[[0, 0, 40, 40], [20, 8, 70, 60], [0, 0, 0, 0]], [[5, 5, 30, 60], [1, 1, 9, 9], [32, 0, 64, 32]]],
    "float32",
)


@pytest.fixture(scope="module")
def batch():
    return Batch()


@pytest.fixture(scope="module")
def models():
    return made_models()


def sampled_by(models, batch, seed=0):
    """The outputs of ``proposal_targets`` and the order that it was given."""
    order = random_order(np.random.default_rng(seed), 2, CONFIG.rpn.post_nms_train + 2)
    inputs = [batch.images, batch.image_sizes, batch.gt_boxes, batch.gt_labels, order]
    return models.proposal_targets.predict_on_batch(inputs), order


def proposed_by(models, batch, pre_nms, post_nms):
    """Proposals from the RPN's outputs, step by step outside the models."""
    scores, deltas = models.rpn.predict_on_batch(batch.images)
    base = anchor_ops.base_anchors(CONFIG.anchors.sizes, CONFIG.anchors.ratios)
    anchors = np.asarray(anchor_ops.grid(64 // 8, 80 // 8, 8, 8, base, CONFIG.anchors.offset))
    options = {"level_counts": (len(anchors),), "pre_nms": pre_nms, "post_nms": post_nms}
    run = at_once(propose, **options, nms_iou=0.7, min_size=1.0)
    logits = np.log(scores) - np.log1p(-scores)
    boxes, _ = run(anchors, logits.reshape(2, -1), deltas.reshape(2, -1, 4), batch.image_sizes)
    return np.asarray(boxes)


# --- names, shapes, sharing ------------------------------------------------------------------


@pytest.mark.parametrize(
    "backbone, strides, multiple",
    [("tiny", (8,), 8), ("vgg16", (16,), 16), ("mobilenet_v3_large_fpn", (32, 32, 64), 32)],
)
def test_names_and_shapes_of_the_design(backbone, strides, multiple):
    config = CONFIG.replace({"model.backbone": backbone})
    made = FasterRCNN.from_config(config, C)
    assert (made.num_classes, made.num_anchors, made.size_multiple) == (C, A, multiple)
    assert made.anchor_generator.strides == strides
    assert made.rpn.input_shape == (None, None, None, 3)
    assert list(made.rpn.output_names) == ["rpn_out_class", "rpn_out_regress"]
    assert made.rpn.output_shape == [(None, None, A), (None, None, A * 4)]
    assert list(made.classifier.output_names) == [f"dense_class_{C}", f"dense_regress_{C}"]
    assert made.classifier.output_shape == [(None, None, C), (None, None, (C - 1) * 4)]


def test_outputs_of_a_batch(models, batch):
    scores, deltas = models.rpn.predict_on_batch(batch.images)
    cells = (64 // 8) * (80 // 8)
    assert scores.shape == (2, cells, A) and deltas.shape == (2, cells, A * 4)
    scores, deltas = models.classifier.predict_on_batch([batch.images, ROIS])
    assert scores.shape == (2, 3, C) and deltas.shape == (2, 3, (C - 1) * 4)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


def test_sub_models_share_the_backbones_variables(models):
    """The same objects, not copies; each head has its own."""
    rpn, classifier = ({id(v) for v in m.variables} for m in (models.rpn, models.classifier))
    shared = {v.path.split("/")[0] for v in models.rpn.variables if id(v) in rpn & classifier}
    assert shared == {f"tiny_conv{number}" for number in range(1, 6)}
    own = {v.path.split("/")[0] for v in models.rpn.variables if id(v) not in classifier}
    assert own == {"rpn_conv", "rpn_class_logits", "rpn_deltas"}
    assert len(classifier - rpn) == 2 * 4  # two dense layers, logits, deltas
    # The models that only run forward are made of the same layers.
    assert {id(v) for v in models.proposal_targets.variables} == rpn
    assert {id(v) for v in models.detector.variables} == rpn | classifier


def test_a_step_of_one_sub_model_moves_what_they_share(batch):
    models = made_models()
    compile_sub_models(models, CONFIG, total_steps=10)
    targets = AnchorTargetCreator(models.anchor_generator, CONFIG.rpn).full_maps(
        batch, np.random.default_rng(0)
    )
    before = models.classifier.predict_on_batch([batch.images, ROIS])[0]
    weights = models.classifier.get_layer("head_dense1").get_weights()[0]
    models.rpn.train_on_batch(batch.images, list(targets))
    after = models.classifier.predict_on_batch([batch.images, ROIS])[0]
    assert np.abs(after - before).max() > 1e-6
    np.testing.assert_array_equal(models.classifier.get_layer("head_dense1").get_weights()[0], weights)
    assert models.rpn.optimizer is not models.classifier.optimizer


def test_frozen_layers_stay_as_they_are_while_the_rest_learns(batch):
    config = CONFIG.replace({"model.backbone": "vgg16", "model.weights": "some.npz"})
    models = FasterRCNN.from_config(config, C, allow_random_frozen=True)
    compile_sub_models(models, config, total_steps=10)
    targets = AnchorTargetCreator(models.anchor_generator, config.rpn).full_maps(
        batch, np.random.default_rng(0)
    )
    layers = ["block1_conv1", "block2_conv2", "block3_conv1", "block5_conv3"]
    before = [models.rpn.get_layer(name).get_weights()[0] for name in layers]
    models.rpn.train_on_batch(batch.images, list(targets))
    after = [models.rpn.get_layer(name).get_weights()[0] for name in layers]
    moved = [bool((one != other).any()) for one, other in zip(before, after)]
    assert moved == [False, False, True, True]


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf", "none"])
def test_preprocessing_is_inside_and_as_configured(mode):
    models = FasterRCNN.from_config(CONFIG.replace({"model.preprocessing": mode}), 2)
    for model in (models.rpn, models.classifier, models.proposal_targets, models.detector):
        assert model.get_layer("preprocess").mode == mode


def test_a_preprocessing_that_nobody_has_settled_is_refused():
    """It was built as pixels over 255, without a word."""
    with pytest.raises(ConfigError, match="preprocessing is auto, but it depends on the weights"):
        FasterRCNN.from_config(presets.preset("voc"), 21)


def test_layers_frozen_at_random_values_are_refused():
    config = CONFIG.replace({"model.backbone": "vgg16", "model.weights": "imagenet"})
    with pytest.raises(
        ConfigError, match=r"4 layers are frozen.*random weights: block1_conv1, .*pretrained"
    ):
        FasterRCNN.from_config(config, 21)


# --- what they compute -----------------------------------------------------------------------


def test_detector_is_rpn_proposals_and_classifier(models, batch):
    """One graph gives what the sub-models give by hand, each fed from the one before."""
    boxes, scores, labels = models.detector.predict_on_batch([batch.images, batch.image_sizes])
    rois = proposed_by(models, batch, CONFIG.rpn.pre_nms_test, CONFIG.rpn.post_nms_test)
    class_scores, deltas = models.classifier.predict_on_batch([batch.images, rois])
    options = {"nms_iou": CONFIG.detection.nms_iou, "max_detections": CONFIG.detection.max_detections}
    run = at_once(postprocess, delta_weights=CONFIG.roi.delta_weights, **options)
    expected = [np.asarray(part) for part in run(rois, class_scores, deltas, batch.image_sizes)]
    assert (expected[2] >= 0).any()
    np.testing.assert_array_equal(labels, expected[2])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(boxes, expected[0], atol=1e-2)


def test_sampler_is_proposals_sampling_and_targets(models, batch):
    sampled, _ = sampled_by(models, batch)
    shapes = {name: value.shape for name, value in sampled.items()}
    R = CONFIG.roi.samples
    assert shapes["rois"] == (2, R, 4)
    assert shapes["y_class"] == (2, R, C) and shapes["y_regress"] == (2, R, 2 * (C - 1) * 4)

    proposals = proposed_by(models, batch, CONFIG.rpn.pre_nms_train, CONFIG.rpn.post_nms_train)
    for image in range(2):
        real = batch.gt_boxes[image][batch.gt_labels[image] >= 0]
        candidates = np.concatenate([proposals[image], real, np.zeros((1, 4))])
        rois = sampled["rois"][image]
        distance = np.abs(rois[:, None] - candidates[None]).max(axis=-1)
        assert distance.min(axis=1).max() < 1e-2  # each RoI is a proposal, a ground-truth box or padding
        # Its class is that of the box that it overlaps, background below 0.5.
        overlaps = np.asarray(box_ops.iou(rois, real))
        classes = np.where(
            overlaps.max(axis=1) >= 0.5, batch.gt_labels[image][overlaps.argmax(axis=1)], C - 1
        )
        exists = rois.any(axis=1)
        np.testing.assert_array_equal(sampled["y_class"][image][exists], np.eye(C)[classes[exists]])
        assert not sampled["y_class"][image][~exists].any()


def test_health_counts_what_the_proposals_hit(models, batch):
    """Objects of which one proposal hits two, and padding, which nothing is to hit."""
    proposals = proposed_by(models, batch, CONFIG.rpn.pre_nms_train, CONFIG.rpn.post_nms_train)
    largest = [boxes[np.asarray(box_ops.area(boxes)).argmax()] for boxes in proposals]
    far = [70, 0, 72, 2]
    gt_boxes = np.stack([[box, box - [0, 0, 1, 1], far] for box in largest]).astype("float32")
    gt_labels = np.array([[0, 1, 2], [0, -1, -1]], "int32")
    order = random_order(np.random.default_rng(0), 2, CONFIG.rpn.post_nms_train + 3)
    inputs = [batch.images, batch.image_sizes, gt_boxes, gt_labels, order]
    sampled = models.proposal_targets.predict_on_batch(inputs)
    np.testing.assert_array_equal(sampled["gt_count"], [3, 1])
    np.testing.assert_array_equal(sampled["gt_found"], [2, 1])
    for image in range(2):
        real = gt_boxes[image][gt_labels[image] >= 0]
        hits = np.asarray(box_ops.iou(real, proposals[image])) >= 0.5
        assert sampled["overlapping_boxes"][image] == hits.any(axis=0).sum()
        assert sampled["positive_rois"][image] == sampled["y_class"][image, :, : C - 1].sum()
    # Ground truth itself is among the candidates; at most a quarter of 16 is positive.
    assert (2 <= sampled["positive_rois"]).all() and (sampled["positive_rois"] <= 4).all()


def test_the_order_decides_the_sample(models, batch):
    one, same, other = (sampled_by(models, batch, seed)[0]["rois"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_images_without_objects_train_as_background(models, batch):
    order = random_order(np.random.default_rng(0), 2, CONFIG.rpn.post_nms_train + 1)
    nothing = [np.zeros((2, 1, 4), "float32"), np.full((2, 1), -1, "int32")]
    sampled = models.proposal_targets.predict_on_batch(
        [batch.images, batch.image_sizes, *nothing, order]
    )
    exists = sampled["rois"].any(axis=-1)
    np.testing.assert_array_equal(sampled["y_class"][exists], np.tile(np.eye(C)[-1], (exists.sum(), 1)))
    assert exists.any() and not sampled["y_regress"].any()
    assert not sampled["gt_count"].any() and not sampled["positive_rois"].any()


def test_sample_weight_reaches_both_sub_models(batch):
    """An image of weight 0 adds nothing: its own targets and RoIs may be anything."""
    models = made_models()
    of_classes = {"data.classes": "a,b,c", "loss.class_weights": "a=2,background=0.5"}
    compile_sub_models(models, CONFIG.replace(of_classes), total_steps=10)
    targets = AnchorTargetCreator(models.anchor_generator, CONFIG.rpn).full_maps(
        batch, np.random.default_rng(0)
    )
    sampled, _ = sampled_by(models, batch)
    functions = {
        "rpn_out_class": losses.rpn_loss_cls(A),
        "rpn_out_regress": losses.rpn_loss_regr(A),
        f"dense_class_{C}": losses.weighted_class_loss_cls([2.0, 1.0, 1.0, 0.5]),
        f"dense_regress_{C}": losses.class_loss_regr(C - 1),
    }
    cases = [
        (models.rpn, batch.images, list(targets)),
        (models.classifier, [batch.images, sampled["rois"]], [sampled["y_class"], sampled["y_regress"]]),
    ]
    for model, inputs, y_true in cases:
        logs = {}
        for name, weights in {"first": [1, 0], "second": [0, 1], "both": [2, 3]}.items():
            weights = np.array(weights, "float32")
            logs[name] = model.test_on_batch(inputs, y_true, sample_weight=weights, return_dict=True)
        for output in model.output_names:
            one, other, both = (logs[name][f"{output}_loss"] for name in ("first", "second", "both"))
            assert one > 0 and other > 0
            np.testing.assert_allclose(both, 2 * one + 3 * other, rtol=1e-4)
        np.testing.assert_allclose(
            logs["both"]["loss"],
            sum(logs["both"][f"{output}_loss"] for output in model.output_names),
            rtol=1e-5,
        )

        # A list has an array per output: of cells (B, L) and anchors (B, L, A), or of RoIs (B, R).
        sizes = y_true[0].shape[:2]
        shapes = [sizes, (*sizes, A) if model is models.rpn else sizes]
        weights = [np.random.default_rng(1).uniform(0, 3, shape).astype("float32") for shape in shapes]
        logs = model.test_on_batch(inputs, y_true, sample_weight=weights, return_dict=True)
        y_pred = model(inputs, training=False)
        for output, *arguments in zip(model.output_names, y_true, y_pred, weights):
            np.testing.assert_allclose(
                logs[f"{output}_loss"], functions[output](*arguments), rtol=1e-4, err_msg=output
            )


def test_loss_weights_are_those_of_the_config(batch):
    models = made_models()
    compile_sub_models(models, CONFIG.replace({"loss.rpn": (2.0, 0.5)}), total_steps=10)
    targets = AnchorTargetCreator(models.anchor_generator, CONFIG.rpn).full_maps(
        batch, np.random.default_rng(0)
    )
    logs = models.rpn.test_on_batch(batch.images, list(targets), return_dict=True)
    expected = 2 * logs["rpn_out_class_loss"] + 0.5 * logs["rpn_out_regress_loss"]
    np.testing.assert_allclose(logs["loss"], expected, rtol=1e-5)


def test_keras_leaves_xla_alone_where_a_layer_has_no_kernel(models, monkeypatch):
    """Else ``compile`` without ``jit_compile`` would ask for XLA on a GPU, and the first step fail."""
    from keras.src.trainers.trainer import model_supports_jit

    on_tensorflow = keras.backend.backend() == "tensorflow"
    if on_tensorflow:  # with determinism, which training on a CPU turns on, Keras never asks for XLA
        from tensorflow.python.framework import config as tf_config

        monkeypatch.setattr(tf_config, "is_op_determinism_enabled", lambda: False)
    for model in (models.classifier, models.region_classifier, models.proposal_targets, models.detector):
        assert model_supports_jit(model) is not on_tensorflow, model.name
    assert model_supports_jit(models.rpn)
    assert model_supports_jit(
        FasterRCNN.from_config(CONFIG.replace({"model.pooling": "roi_pool"}), 4).classifier
    )


def test_resnet50_end_to_end(batch):
    """conv5 works on the RoIs: pooled to 14 x 14, halved, averaged."""
    config = CONFIG.replace({"model.backbone": "resnet50", "model.weights": "some.h5"})
    models = FasterRCNN.from_config(config, C, allow_random_frozen=True)
    names = [layer.name for layer in models.classifier.layers]
    assert "conv5" in names and "head_dense1" not in names
    pooled = models.classifier.get_layer("roi_align")
    assert pooled.pool_size == 14 and pooled.strides == (16,)
    scores, deltas = models.classifier([batch.images.astype("float32"), ROIS[:, :2]])
    assert scores.shape == (2, 2, C) and deltas.shape == (2, 2, (C - 1) * 4)
    own = {v.path for v in models.classifier.trainable_variables}
    assert any("conv5" in path for path in own)
    assert not any("conv5" in v.path for v in models.rpn.variables)


@pytest.mark.slow
def test_a_pyramid_of_mobilenet_v2_end_to_end(batch):
    """The RPN's outputs, the anchors and the targets agree on cells, at a size odd on the last level."""
    small = {"model.rpn_channels": 8, "model.head_width": 16, "rpn.score_threshold": 0.0}
    config = CONFIG.replace(presets.backbone_preset("mobilenet_v2_fpn") | small)
    config = config.replace({"rpn.post_nms_train": 20, "rpn.post_nms_test": 8, "rpn.pre_nms_train": 9})
    models = FasterRCNN.from_config(config, C)
    padded = np.zeros((2, 96, 96, 3), "uint8")
    padded[:, :64, :80] = batch.images
    batch = SimpleNamespace(**vars(batch) | {"images": padded})
    scores, deltas = models.rpn.predict_on_batch(padded)
    grid, counts = models.anchor_generator(96, 96)
    cells = [(-(-96 // stride)) ** 2 for stride in models.anchor_generator.strides]
    assert models.num_anchors == 3 and counts == [count * 3 for count in cells]
    assert scores.shape == (2, sum(cells), 3) and len(grid) == sum(counts)
    y_class, y_regress = AnchorTargetCreator(models.anchor_generator, config.rpn).full_maps(
        batch, np.random.default_rng(0)
    )
    assert y_class.shape == (2, sum(cells), 2 * 3)
    assert y_regress.shape == (2, sum(cells), 2 * 4 * 3)
    order = random_order(np.random.default_rng(0), 2, 20 + 2)
    inputs = [padded, batch.image_sizes, batch.gt_boxes, batch.gt_labels, order]
    sampled = models.proposal_targets.predict_on_batch(inputs)
    assert sampled["positive_rois"].min() >= 1
    boxes, found, _ = models.detector.predict_on_batch([padded, batch.image_sizes])
    assert np.isfinite(boxes).all() and np.isfinite(found).all()
    compile_sub_models(models, config, total_steps=10)
    rois = [padded, sampled["rois"]]
    first, *_, last = (
        models.rpn.train_on_batch(padded, [y_class, y_regress])[0]
        + models.classifier.train_on_batch(rois, [sampled["y_class"], sampled["y_regress"]])[0]
        for _ in range(4)
    )
    assert last < first


def test_the_papers_settings_are_the_default():
    config = configs.Config()
    assert len(config.anchors.sizes) * len(config.anchors.ratios) == 9
    rpn, roi = config.rpn, config.roi
    assert (rpn.positive_iou, rpn.negative_iou) == (0.7, 0.3)
    assert (rpn.samples, rpn.positive_fraction) == (256, 0.5)
    assert (rpn.pre_nms_train, rpn.post_nms_train, rpn.nms_iou) == (12000, 2000, 0.7)
    assert (rpn.pre_nms_test, rpn.post_nms_test) == (6000, 300)
    assert (roi.samples, roi.positive_fraction, roi.positive_iou) == (128, 0.25, 0.5)
    vgg = FasterRCNN.from_config(
        config.replace({"model.preprocessing": "caffe", "model.head_width": 8}), 21, True
    )
    assert list(vgg.classifier.output_names) == ["dense_class_21", "dense_regress_21"]
    assert vgg.classifier.get_layer("head_dropout1").rate == 0.5
    assert isinstance(vgg.rpn.get_layer("rpn_conv"), keras.layers.Conv2D)
    assert vgg.rpn.get_layer("rpn_conv").filters == 512
