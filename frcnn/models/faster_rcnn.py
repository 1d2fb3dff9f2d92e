"""One config to the sub-models that share one backbone.

``rpn`` and ``classifier`` are trained; ``proposal_targets`` and ``detector`` have the same layers and
only run forward. All four are Keras models, so each is one compiled graph.

Letters: B images, H x W pixels, L feature cells, A anchors a cell, N = L·A, P proposals, G ground-truth
boxes (padded), R RoIs, C classes with background last, M detections.
"""

import dataclasses
import functools

import keras

from frcnn.backend import IS_TENSORFLOW, on_batches
from frcnn.errors import ConfigError
from frcnn.layers.preprocess import Preprocess
from frcnn.layers.proposals import PostprocessLayer, ProposalLayer, ProposalTargetLayer
from frcnn.layers.roi_align import RoIAlign
from frcnn.layers.roi_pool import RoIPool
from frcnn.models import freezing, heads
from frcnn.models.backbones import BACKBONES
from frcnn.models.freezing import weighted_layers
from frcnn.ops import anchors as anchor_ops
from frcnn.text import listed


@dataclasses.dataclass(frozen=True)
class FasterRCNN:
    """The sub-models of one Faster R-CNN.

    Attributes:
        rpn: images (B, H, W, 3) to objectness scores (B, L, A) and deltas (B, L, A·4).
        classifier: images and rois (B, R, 4) to class scores (B, R, C) and deltas (B, R, (C-1)·4).
        proposal_targets: images, image sizes (B, 2), gt_boxes (B, G, 4), gt_labels (B, G) and order
            (B, P + G) to a dict: rois (B, R, 4), y_class, y_regress for the classifier, and
            statistics of proposals and sampling, one number per image; ``images`` is 0 for an image of
            no size, which only
            fills the batch.
        detector: images and image sizes to boxes (B, M, 4), scores (B, M), labels (B, M).
        region_classifier: the classifier from features on: a list of the levels pooled from, and rois.
        features: the levels, the finest first, as Keras tensors of the graph of all these.
        frozen_backbone: images to the features that all trained layers start from; None: nothing is
            frozen.
        num_classes: C.
        num_anchors: A.
        anchor_generator: the anchors of a network input, ``anchors.AnchorGenerator``.
        size_multiple: H and W are multiples of this: the network's own, or one of it that reaches
            ``data.pad_multiple``.
    """

    rpn: keras.Model
    classifier: keras.Model
    proposal_targets: keras.Model
    detector: keras.Model
    region_classifier: keras.Model
    features: list
    frozen_backbone: keras.Model | None
    num_classes: int
    num_anchors: int
    anchor_generator: anchor_ops.AnchorGenerator
    size_multiple: int

    @classmethod
    def from_config(cls, config, num_classes, allow_random_frozen=False):
        """Return the ``FasterRCNN`` of a config, with initial weights.

        ``pretrained.build`` also loads the weights that the config names.

        Args:
            config: ``frcnn.config.schema.Config`` whose ``model.preprocessing`` is no longer "auto".
            num_classes: C, background included.
            allow_random_frozen: layers may be frozen at random values: the caller loads weights next, or
                only measures speed.

        Raises:
            ConfigError: ``model.preprocessing`` is "auto", which a weight file decides; or layers would
                stay at random values, as ``model.weights`` is not "none".
        """
        if config.model.preprocessing == "auto":
            raise ConfigError(
                "model.preprocessing is auto, which only the weights can tell: build with "
                "frcnn.build_pretrained, which loads them, or set it to what the weights want"
            )
        outside = keras.config.dtype_policy()
        keras.config.set_dtype_policy(config.train.precision)
        try:
            built = _build(config, num_classes)
        finally:
            keras.config.set_dtype_policy(outside)
        frozen = [layer.name for layer in weighted_layers(built.detector) if not layer.trainable]
        if frozen and not allow_random_frozen:
            raise ConfigError(
                f"{len(frozen)} layers are frozen for pretrained weights, as model.weights is "
                f"{config.model.weights}, but hold random ones: {listed(frozen)}. Build with "
                "frcnn.build_pretrained, which loads the weights, or set model.weights=none, which "
                "freezes nothing; pass allow_random_frozen=True to load them yourself"
            )
        return built


def _build(config, num_classes):
    images = keras.Input((None, None, 3), name="images")
    sizes = keras.Input((2,), name="image_sizes")
    gt_boxes = keras.Input((None, 4), name="gt_boxes")
    gt_labels = keras.Input((None,), dtype="int32", name="gt_labels")
    order = keras.Input((None,), dtype="int32", name="order")
    rois = keras.Input((None, 4), name="rois")

    pixels = Preprocess(config.model.preprocessing, name="preprocess")(images)
    kind = BACKBONES[config.model.backbone]
    backbone = kind.build(pixels, config.model)
    anchor_generator = anchor_ops.AnchorGenerator(config.anchors, backbone.strides)

    channels, depth = config.model.rpn_channels, backbone.rpn_depth
    scores, deltas = heads.rpn(
        backbone.features, anchor_generator.num_anchors, channels, conv_depth=depth
    )
    rpn = keras.Model(images, [scores, deltas], name="rpn")
    logits = rpn.get_layer("rpn_class_cells").output

    frozen = freezing.frozen_end(images, backbone.features)
    frozen_backbone = None if frozen is None else keras.Model(images, frozen, name="frozen_backbone")

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

    proposals = ProposalLayer(
        config.rpn, anchor_generator, config.rpn.pre_nms_train, config.rpn.post_nms_train
    )
    proposed = proposals(images, logits, deltas, sizes)
    sampled = ProposalTargetLayer(config.roi, num_classes)(proposed, sizes, gt_boxes, gt_labels, order)
    proposal_targets = Forward(
        [images, sizes, gt_boxes, gt_labels, order], sampled, name="proposal_targets"
    )

    proposals = ProposalLayer(
        config.rpn, anchor_generator, config.rpn.pre_nms_test, config.rpn.post_nms_test
    )
    proposed = proposals(images, logits, deltas, sizes)
    # Called as a model, the classifier would run the backbone again; from its features it does not.
    region_classifier = keras.Model([features, rois], classifier_outputs, name="region_classifier")
    scores, deltas = region_classifier([features, proposed])
    detected = PostprocessLayer(config)(proposed, scores, deltas, sizes)
    detector = Forward([images, sizes], detected, name="detector")

    # XLA has no kernel for TensorFlow's NMS and crop_and_resize; "auto" would choose it on a GPU. JAX
    # has nothing but XLA: without it, it would run op by op.
    for model in (proposal_targets, detector):
        model.compile(jit_compile=not IS_TENSORFLOW)
    return FasterRCNN(
        rpn,
        classifier,
        proposal_targets,
        detector,
        region_classifier,
        list(backbone.features),
        frozen_backbone,
        num_classes,
        anchor_generator.num_anchors,
        anchor_generator,
        backbone.size_multiple * max(1, -(-config.data.pad_multiple // backbone.size_multiple)),
    )


def _roi_pooling(backbone, config):
    """Return the layer that cuts RoIs out of the features."""
    strides = backbone.strides[: backbone.roi_levels]
    size = backbone.pool_size or config.pool_size
    if config.pooling == "roi_pool":
        return RoIPool(strides, size, name="roi_pool")
    return RoIAlign(strides, size, config.pool_samples, config.pool_aligned, name="roi_align")


class Forward(keras.Model):
    """A functional model that runs forward only, by ``predict_on_batch``, and is traced once."""

    def make_predict_function(self, force=False):
        if not IS_TENSORFLOW:
            super().make_predict_function(force)
        elif force or self.predict_function is None:
            self.predict_function = on_batches(self, self.predict_step)
