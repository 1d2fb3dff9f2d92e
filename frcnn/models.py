"""One config to the sub-models that share one backbone.

``rpn`` and ``classifier`` are what is trained; ``sampler`` and ``detector`` are made of the same
layers and only run forward. All four are Keras models, so each is one compiled graph.

Letters: B images, H x W pixels, L feature cells, A anchors a cell, N = L·A, P proposals, G ground-truth
boxes (padded), R RoIs, C classes with background last, M detections.
"""

import dataclasses
import functools

import keras
from keras import layers, ops

from frcnn import anchors as anchor_ops
from frcnn import blocks, heads
from frcnn import boxes as box_ops
from frcnn.backbones import BACKBONES, Preprocess
from frcnn.backend import IS_TENSORFLOW, on_batches
from frcnn.detections import detect
from frcnn.errors import ConfigError
from frcnn.layer_weights import few, weighted_layers
from frcnn.proposals import propose
from frcnn.roi_align import RoiAlign
from frcnn.roi_pool import RoiPool
from frcnn.sampling import sample_rois
from frcnn.targets import roi_targets


@dataclasses.dataclass(frozen=True)
class Models:
    """The sub-models of one Faster R-CNN.

    Attributes:
        rpn: images (B, H, W, 3) to objectness scores (B, L, A) and deltas (B, L, A·4).
        classifier: images and rois (B, R, 4) to class scores (B, R, C) and deltas (B, R, (C-1)·4).
        sampler: images, image sizes (B, 2), gt_boxes (B, G, 4), gt_labels (B, G), order (B, P + G)
            to a dict: rois (B, R, 4), y_class, y_regress for the classifier, and the health of
            proposals and sampling, one number an image; ``images`` is 0 for one of no size, which only
            fills the batch.
        detector: images and image sizes to boxes (B, M, 4), scores (B, M), labels (B, M).
        region_classifier: the classifier from features on: a list of the levels pooled from, and rois.
        features: the levels, the finest first, as Keras tensors of the graph of all these.
        stem: images to the features that everything trained starts from; None: nothing is frozen.
        num_classes: C.
        num_anchors: A.
        pyramid: the anchors of a network input, ``anchors.Pyramid``.
        size_multiple: H and W are multiples of this: the network's own, or one of it that reaches
            ``data.pad_multiple``.
    """

    rpn: keras.Model
    classifier: keras.Model
    sampler: keras.Model
    detector: keras.Model
    region_classifier: keras.Model
    features: list
    stem: keras.Model | None
    num_classes: int
    num_anchors: int
    pyramid: anchor_ops.Pyramid
    size_multiple: int


def build(config, num_object_classes, allow_random_frozen=False):
    """Return the ``Models`` of a config, with initial weights.

    ``pretrained.build`` also loads the weights that the config names.

    Args:
        config: ``frcnn.config.Config`` whose ``model.preprocessing`` is no longer "auto".
        num_object_classes: C - 1.
        allow_random_frozen: layers may be frozen at random values: the caller loads weights next, or
            only measures speed.

    Raises:
        ConfigError: ``model.preprocessing`` is "auto", which a weight file decides; or layers would stay
            at random values, as ``model.weights`` is not "none".
    """
    if config.model.preprocessing == "auto":
        raise ConfigError(
            "model.preprocessing is auto, which only the weights can tell: build with "
            "frcnn.build_pretrained, which loads them, or set it to what the weights want"
        )
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.train.precision)
    try:
        built = _build(config, num_object_classes)
    finally:
        keras.config.set_dtype_policy(outside)
    frozen = [layer.name for layer in weighted_layers(built.detector) if not layer.trainable]
    if frozen and not allow_random_frozen:
        raise ConfigError(
            f"{len(frozen)} layers are frozen for pretrained weights, as model.weights is "
            f"{config.model.weights}, but hold random ones: {few(frozen)}. Build with "
            "frcnn.build_pretrained, which loads the weights, or set model.weights=none, which freezes "
            "nothing; pass allow_random_frozen=True to load them yourself"
        )
    return built


def _build(config, num_object_classes):
    num_classes = num_object_classes + 1
    images = keras.Input((None, None, 3), name="images")
    sizes = keras.Input((2,), name="image_sizes")
    gt_boxes = keras.Input((None, 4), name="gt_boxes")
    gt_labels = keras.Input((None,), dtype="int32", name="gt_labels")
    order = keras.Input((None,), dtype="int32", name="order")
    rois = keras.Input((None, 4), name="rois")

    pixels = Preprocess(config.model.preprocessing, name="preprocess")(images)
    kind = BACKBONES[config.model.backbone]
    backbone = kind.build(pixels, config.model)
    pyramid = anchor_ops.Pyramid(config.anchors, backbone.strides)

    channels, depth = config.model.rpn_channels, backbone.rpn_depth
    scores, deltas = heads.rpn(backbone.features, pyramid.num_anchors, channels, conv_depth=depth)
    rpn = keras.Model(images, [scores, deltas], name="rpn")
    logits = rpn.get_layer("rpn_class_cells").output

    frozen = blocks.frozen_end(images, backbone.features)
    stem = None if frozen is None else keras.Model(images, frozen, name="stem")

    features = list(backbone.features[: backbone.roi_levels])
    width, dropout = config.model.head_width, config.model.head_dropout
    classifier_outputs = heads.classifier(
        features,
        rois,
        num_classes,
        _roi_pooling(backbone, config.model),
        backbone.head or functools.partial(heads.dense_head, widths=[width] * 2, dropout=dropout),
    )
    classifier = keras.Model([images, rois], classifier_outputs, name="classifier")

    proposals = Propose(config.rpn, pyramid, config.rpn.pre_nms_train, config.rpn.post_nms_train)
    proposed = proposals(images, logits, deltas, sizes)
    sampled = SampleRois(config.roi, num_classes)(proposed, sizes, gt_boxes, gt_labels, order)
    sampler = Forward([images, sizes, gt_boxes, gt_labels, order], sampled, name="sampler")

    proposals = Propose(config.rpn, pyramid, config.rpn.pre_nms_test, config.rpn.post_nms_test)
    proposed = proposals(images, logits, deltas, sizes)
    # Called as a model, the classifier would run the backbone again; from its features it does not.
    region_classifier = keras.Model([features, rois], classifier_outputs, name="region_classifier")
    scores, deltas = region_classifier([features, proposed])
    detected = Detect(config)(proposed, scores, deltas, sizes)
    detector = Forward([images, sizes], detected, name="detector")

    # XLA has no kernel for TensorFlow's NMS and crop_and_resize; "auto" would choose it on a GPU. JAX
    # has nothing but XLA: without it, it would run op by op.
    for model in (sampler, detector):
        model.compile(jit_compile=not IS_TENSORFLOW)
    return Models(
        rpn,
        classifier,
        sampler,
        detector,
        region_classifier,
        list(backbone.features),
        stem,
        num_classes,
        pyramid.num_anchors,
        pyramid,
        backbone.size_multiple * max(1, -(-config.data.pad_multiple // backbone.size_multiple)),
    )


def _roi_pooling(backbone, config):
    """Return the layer that cuts RoIs out of the features."""
    strides = backbone.strides[: backbone.roi_levels]
    size = backbone.pool_size or config.pool_size
    if config.pooling == "roi_pool":
        return RoiPool(strides, size, name="roi_pool")
    return RoiAlign(strides, size, config.pool_samples, config.pool_aligned, name="roi_align")


class Forward(keras.Model):
    """A functional model that runs forward only, by ``predict_on_batch``, and is traced once."""

    def make_predict_function(self, force=False):
        if not IS_TENSORFLOW:
            super().make_predict_function(force)
        elif force or self.predict_function is None:
            self.predict_function = on_batches(self, self.predict_step)


class Propose(layers.Layer):
    """``proposals.propose`` on the RPN's outputs and the anchors of the images.

    Args:
        config: ``RpnConfig``.
        pyramid: ``anchors.Pyramid``.
        pre_nms, post_nms: proposals before (a level) and after suppression.
    """

    def __init__(self, config, pyramid, pre_nms, post_nms, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config, self.pyramid = config, pyramid
        self.pre_nms, self.post_nms = pre_nms, post_nms
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(self, images, logits, deltas, image_sizes):
        batch, height, width = ops.shape(images)[:3]
        anchors, counts = self.pyramid(height, width)
        proposals, _ = propose(
            anchors,
            ops.reshape(logits, (batch, -1)),
            ops.reshape(deltas, (batch, -1, 4)),
            image_sizes,
            counts,
            self.pre_nms,
            self.post_nms,
            self.config.nms_iou,
            self.config.min_size,
            self.config.score_threshold,
        )
        return proposals

    def compute_output_shape(self, images_shape, *_):
        return (images_shape[0], self.post_nms, 4)


class SampleRois(layers.Layer):
    """``sampling.sample_rois`` and ``targets.roi_targets``, with the health of both.

    Args:
        roi: ``RoiConfig``.
        num_classes: C.
    """

    def __init__(self, roi, num_classes, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.roi = roi
        self.num_classes = num_classes

    def call(self, proposals, image_sizes, gt_boxes, gt_labels, order):
        roi = self.roi
        rois, labels, matches, _ = sample_rois(
            proposals,
            gt_boxes,
            gt_labels,
            order,
            roi.samples,
            roi.positive_fraction,
            roi.positive_iou,
            roi.negative_iou_low,
        )
        y_class, y_regress = roi_targets(
            rois, labels, matches, gt_boxes, self.num_classes, roi.delta_weights
        )
        valid = ops.cast(gt_labels >= 0, "float32")
        overlaps = box_ops.iou(gt_boxes, proposals) * valid[..., None]
        hits = ops.cast(overlaps >= roi.positive_iou, "float32")
        # Constants to whoever learns from them: Ren et al. 2015, section 3.2.
        rois, y_class, y_regress = (ops.stop_gradient(part) for part in (rois, y_class, y_regress))
        return {
            "rois": rois,
            "y_class": y_class,
            "y_regress": y_regress,
            "images": ops.cast(image_sizes[:, 0] > 0.0, "float32"),
            "gt_count": ops.sum(valid, axis=1),
            "gt_found": ops.sum(ops.max(hits, axis=2), axis=1),
            "overlapping_boxes": ops.sum(ops.max(hits, axis=1), axis=1),
            "positive_rois": ops.sum(ops.cast(labels >= 0, "float32"), axis=1),
        }

    def compute_output_spec(self, proposals, *_):
        samples, classes = self.roi.samples, self.num_classes
        shapes = {
            "rois": (samples, 4),
            "y_class": (samples, classes),
            "y_regress": (samples, 2 * (classes - 1) * 4),
            "images": (),
            "gt_count": (),
            "gt_found": (),
            "overlapping_boxes": (),
            "positive_rois": (),
        }
        return {
            name: keras.KerasTensor((proposals.shape[0], *shape), "float32")
            for name, shape in shapes.items()
        }


class Detect(layers.Layer):
    """``detections.detect`` with a config's thresholds."""

    def __init__(self, config, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config = config
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(self, rois, scores, deltas, image_sizes):
        weights = self.config.roi.delta_weights
        return detect(rois, scores, deltas, image_sizes, weights, self.config.detection)

    def compute_output_spec(self, rois, *_):
        batch, most = rois.shape[0], self.config.detection.max_detections
        return (
            keras.KerasTensor((batch, most, 4), "float32"),
            keras.KerasTensor((batch, most), "float32"),
            keras.KerasTensor((batch, most), "int32"),
        )
