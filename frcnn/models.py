"""One config to the sub-models that share one backbone.

``rpn`` and ``classifier`` are what is trained; ``sampler`` and ``detector`` are made of the same
layers and only run forward. All four are Keras models, so each is one compiled graph.

Letters: B images, H x W pixels, L feature cells, A anchors a cell, N = L·A, P proposals, G ground-truth
boxes (padded), R RoIs, C classes with background last, M detections.
"""

import dataclasses

import keras
from keras import layers, ops

from frcnn import anchors as anchor_ops
from frcnn import boxes as box_ops
from frcnn import heads
from frcnn.backbones import BACKBONES, Preprocess
from frcnn.backend import IS_TENSORFLOW
from frcnn.detections import detect
from frcnn.proposals import propose
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
            proposals and sampling, one number an image.
        detector: images and image sizes to boxes (B, M, 4), scores (B, M), labels (B, M).
        num_classes: C.
        num_anchors: A.
        stride: pixels of the network input a feature cell.
    """

    rpn: keras.Model
    classifier: keras.Model
    sampler: keras.Model
    detector: keras.Model
    num_classes: int
    num_anchors: int
    stride: int


def build(config, num_object_classes):
    """Return the ``Models`` of a config, with initial weights.

    Args:
        config: ``frcnn.config.Config`` whose ``model.preprocessing`` is no longer "auto".
        num_object_classes: C - 1.
    """
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.train.precision)
    try:
        return _build(config, num_object_classes)
    finally:
        keras.config.set_dtype_policy(outside)


def _build(config, num_object_classes):
    num_classes = num_object_classes + 1
    num_anchors = len(config.anchors.sizes) * len(config.anchors.ratios)

    images = keras.Input((None, None, 3), name="images")
    sizes = keras.Input((2,), name="image_sizes")
    gt_boxes = keras.Input((None, 4), name="gt_boxes")
    gt_labels = keras.Input((None,), dtype="int32", name="gt_labels")
    order = keras.Input((None,), dtype="int32", name="order")
    rois = keras.Input((None, 4), name="rois")

    pixels = Preprocess(config.model.preprocessing, name="preprocess")(images)
    kind = BACKBONES[config.model.backbone]
    backbone = kind.build(pixels, frozen=config.model.weights != "none")
    features = backbone.features

    rpn_outputs = heads.rpn(features, num_anchors, config.model.rpn_channels)
    rpn = keras.Model(images, rpn_outputs, name="rpn")
    classifier_outputs = heads.classifier(
        features,
        rois,
        num_classes,
        backbone.stride,
        backbone.pool_size or config.model.pool_size,
        config.model.pool_samples,
        config.model.head_width,
        config.model.head_dropout,
        backbone.tail,
    )
    classifier = keras.Model([images, rois], classifier_outputs, name="classifier")

    proposals = Propose(config, backbone.stride, config.rpn.pre_nms_train, config.rpn.post_nms_train)
    proposed = proposals(features, *rpn_outputs, sizes)
    sampled = SampleRois(config.roi, num_classes)(proposed, gt_boxes, gt_labels, order)
    sampler = keras.Model([images, sizes, gt_boxes, gt_labels, order], sampled, name="sampler")

    proposals = Propose(config, backbone.stride, config.rpn.pre_nms_test, config.rpn.post_nms_test)
    proposed = proposals(features, *rpn_outputs, sizes)
    # Called as a model, the classifier would run the backbone again; from its features it does not.
    region_classifier = keras.Model([features, rois], classifier_outputs, name="region_classifier")
    scores, deltas = region_classifier([features, proposed])
    detected = Detect(config)(proposed, scores, deltas, sizes)
    detector = keras.Model([images, sizes], detected, name="detector")

    # XLA has no kernel for TensorFlow's NMS and crop_and_resize; "auto" would choose it on a GPU. JAX
    # has nothing but XLA: without it, it would run op by op.
    for model in (sampler, detector):
        model.compile(jit_compile=not IS_TENSORFLOW)
    return Models(rpn, classifier, sampler, detector, num_classes, num_anchors, backbone.stride)


class Propose(layers.Layer):
    """``proposals.propose`` on the RPN's outputs and the grid of their feature map.

    Args:
        config: ``Config``.
        stride: pixels of the network input a feature cell.
        pre_nms, post_nms: proposals before and after suppression.
    """

    def __init__(self, config, stride, pre_nms, post_nms, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.rpn = config.rpn
        self.offset = config.anchors.offset
        self.base = anchor_ops.base_anchors(config.anchors.sizes, config.anchors.ratios)
        self.stride, self.pre_nms, self.post_nms = stride, pre_nms, post_nms

    def call(self, features, scores, deltas, image_sizes):
        height, width = ops.shape(features)[1], ops.shape(features)[2]
        anchors = anchor_ops.grid(height, width, self.stride, self.base, self.offset)
        batch = ops.shape(scores)[0]
        proposals, _ = propose(
            anchors,
            ops.reshape(scores, (batch, -1)),
            ops.reshape(deltas, (batch, -1, 4)),
            image_sizes,
            self.pre_nms,
            self.post_nms,
            self.rpn.nms_iou,
            self.rpn.min_size,
        )
        return proposals

    def compute_output_shape(self, features_shape, *_):
        return (features_shape[0], self.post_nms, 4)


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

    def call(self, proposals, gt_boxes, gt_labels, order):
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
        return {
            "rois": rois,
            "y_class": y_class,
            "y_regress": y_regress,
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

    def call(self, rois, scores, deltas, image_sizes):
        detection = self.config.detection
        return detect(
            rois,
            scores,
            deltas,
            image_sizes,
            self.config.roi.delta_weights,
            detection.score_threshold,
            detection.nms_iou,
            detection.max_detections,
        )

    def compute_output_spec(self, rois, *_):
        batch, most = rois.shape[0], self.config.detection.max_detections
        return (
            keras.KerasTensor((batch, most, 4), "float32"),
            keras.KerasTensor((batch, most), "float32"),
            keras.KerasTensor((batch, most), "int32"),
        )
