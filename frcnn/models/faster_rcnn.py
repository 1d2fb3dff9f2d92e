"""Faster R-CNN: sub-models that share one backbone.

``rpn`` and ``classifier`` are trained. ``proposal_targets``, ``detector`` and ``box_classifier`` use the
same layers, and are never trained themselves. All are Keras models, so each is one compiled graph.

B: images, H x W: pixels, L: feature cells, A: anchors per cell, N = L·A, P: proposals, G: ground-truth
boxes (padded), R: RoIs, C: classes with background last, M: detections, E: numbers per box, D: numbers
per box regression.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from frcnn.backend import IS_TENSORFLOW
from frcnn.config import class_names, conv_tiles, presets
from frcnn.config.schema import AnchorConfig, Config
from frcnn.errors import ConfigError
from frcnn.layers import conv_ways
from frcnn.layers.preprocess import Preprocess
from frcnn.layers.proposals import PostprocessLayer, ProposalLayer, ProposalTargetLayer
from frcnn.models import freezing, heads, keras_backbone
from frcnn.models.backbones import BACKBONES, Backbone
from frcnn.models.cascade import Cascade
from frcnn.models.forward import Forward
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.box_kinds import BOX_KINDS
from frcnn.ops.sampling import random_order
from frcnn.text import listed


class FasterRCNN:
    """Faster R-CNN on any backbone. Ren et al. 2015.

    Args:
        backbone: a name in ``frcnn.models.backbones.BACKBONES``, or a Keras model from images
            (B, H, W, 3) to one feature level (B, h, w, K), or to a list of them, the finest first.
        num_classes: C, background included: 21 for VOC's 20 object classes.
        anchors: sizes and ratios of the anchors. Default: those of ``config``; for a Keras model without
            a ``config``: ``frcnn.models.keras_backbone.default_anchors``.
        roi_pooling: a layer from features and rois (B, R, E) to (B, R, p, p, K), where p is the pool
            size. Its attribute ``strides`` has the strides of the levels that it pools from. An example
            is ``RoIAlign((16,))``. Default: the layer that ``config.model.pooling`` names.
        head: function from pooled RoIs (B·R, p, p, K) to (B·R, k), such as a Keras model. Default: the
            last stage of the network for ``resnet50`` and ``mobilenet_v2``, convolutions for
            ``resnet50_fpn_v2``, and two dense layers for all others.
        preprocessing: how raw RGB, 0 to 255, becomes the backbone's input; one of ``Preprocess.MODES``.
            Default: ``config.model.preprocessing``. For a Keras model the default is raw RGB.
        config: all other settings. Used are the sections ``model``, ``rpn``, ``roi``, ``detection`` and
            ``box``, and ``train.precision``, ``train.conv_tiles`` and ``data.pad_multiple``. Default:
            the preset of the backbone.
        allow_random_frozen: allow frozen layers with random weights, because the caller loads weights
            afterwards.

    Attributes:
        rpn: images (B, H, W, 3) to objectness scores (B, L, A) and deltas (B, L, A·D).
        classifier: images and rois (B, R, E) to class scores (B, R, C) and deltas (B, R, (C-1)·D).
        proposal_targets: images, image sizes (B, 2), gt_boxes (B, G, E), gt_labels (B, G) and order
            (B, P + G) to the dict that ``ProposalTargetLayer`` returns: rois (B, R, E), the classifier's
            targets ``y_class`` and ``y_regress``, and statistics of the proposals, one number per image.
        detector: images and image sizes to boxes (B, M, E), scores (B, M), labels (B, M).
        region_classifier: the classifier without the backbone, from the list of feature levels that RoIs
            are pooled from and rois (B, R, E) to the classifier's outputs.
        cascade: all stages of the classifier; ``classifier`` and ``region_classifier`` are the first.
        box_classifier: images and rois (B, R, E) to class scores (B, R, C), the mean of all stages.
        features: Keras tensors of the feature levels, the finest first. All sub-models contain them.
        frozen_backbone: the frozen part of the backbone, from images to the features at which the
            trainable layers begin; None if nothing is frozen.
        num_classes: C.
        num_anchors: A.
        anchor_generator: ``AnchorGenerator`` for the feature levels.
        kind: ``BoxKind`` of the setting ``box.kind``. E is 4, or 5 for oriented boxes. D is 4; for
            oriented boxes 6 in the RPN and 5 in the classifier.
        size_multiple: H and W must be multiples of this.
        config: the settings.

    Raises:
        ConfigError: the settings do not fit the backbone; ``preprocessing`` is "auto", which
            ``frcnn.build_pretrained`` replaces; or frozen layers have random weights.

    Example:
        >>> model = FasterRCNN("tiny", num_classes=4)  # three object classes and background
        >>> scores, deltas = model.rpn.predict_on_batch(np.zeros((1, 64, 96, 3)))

        >>> resnet = keras.applications.ResNet50(include_top=False, input_shape=(None, None, 3))
        >>> c4 = keras.Model(resnet.input, resnet.get_layer("conv4_block6_out").output)
        >>> model = FasterRCNN(c4, num_classes=21, preprocessing="caffe")
    """

    def __init__(
        self,
        backbone: str | keras.Model,
        num_classes: int,
        *,
        anchors: AnchorConfig | None = None,
        roi_pooling: keras.layers.Layer | None = None,
        head: Callable[[Any], Any] | None = None,
        preprocessing: str | None = None,
        config: Config | None = None,
        allow_random_frozen: bool = False,
    ):
        if num_classes < 2:
            raise ConfigError(f"num_classes counts background, so it is at least 2, not {num_classes}")
        is_named = isinstance(backbone, str)
        self.config = _settings(backbone if is_named else None, config)
        self.num_classes = num_classes
        preprocessing = preprocessing or (self.config.model.preprocessing if is_named else None)
        if preprocessing == "auto":
            raise ConfigError(
                "model.preprocessing is auto, but it depends on the weights: build with "
                "frcnn.build_pretrained, which loads weights, or set it to what the weights need"
            )
        tiles = conv_tiles.parse(self.config.train.conv_tiles)
        with _dtype_policy(self.config.train.precision), conv_ways.using(tiles):
            images = keras.Input((None, None, 3), name="images")
            pixels = Preprocess(preprocessing, name="preprocess")(images) if preprocessing else images
            if is_named:
                levels = BACKBONES[backbone].build(pixels, self.config.model)
            else:
                levels = keras_backbone.from_model(backbone, pixels)
                anchors = anchors or (None if config else keras_backbone.default_anchors(levels.strides))
            self._build(images, levels, anchors or self.config.anchors, roi_pooling, head)
        if is_named and not allow_random_frozen:
            self._refuse_random_frozen()

    @classmethod
    def from_config(
        cls, config: Config, num_classes: int | None = None, allow_random_frozen: bool = False
    ) -> FasterRCNN:
        """Build the network of a config, with random weights.

        ``frcnn.build_pretrained`` also loads the weights that the config names.

        Args:
            config: settings whose ``model.preprocessing`` is not "auto".
            num_classes: C, background included. Default: the number of ``data.classes``, plus 1.
            allow_random_frozen: as for ``FasterRCNN``.

        Raises:
            ConfigError: as for ``FasterRCNN``; or ``data.classes`` is empty and ``num_classes`` not
                given.

        Example:
            >>> config = preset("shapes").replace({"model.preprocessing": "tf"})
            >>> model = FasterRCNN.from_config(config, num_classes=4)
        """
        if num_classes is None:
            if not config.data.classes:
                raise ConfigError("data.classes names no class: set it, or give num_classes")
            num_classes = len(config.data.classes) + 1
        return cls(
            config.model.backbone,
            num_classes,
            config=config,
            allow_random_frozen=allow_random_frozen,
        )

    def sample_rois(
        self,
        images: np.ndarray,
        image_sizes: np.ndarray,
        gt_boxes: np.ndarray,
        gt_labels: np.ndarray,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:
        """Sample RoIs from the proposals of a batch, and make the classifier's targets.

        Args:
            images: (B, H, W, 3) raw RGB, 0 to 255, padded.
            image_sizes: (B, 2) height and width without padding, pixels.
            gt_boxes: (B, G, E).
            gt_labels: (B, G) int32, -1 for padding.
            rng: random generator.

        Returns:
            The outputs of ``proposal_targets``, as numpy arrays.

        Example:
            >>> sampled = model.sample_rois(images, image_sizes, gt_boxes, gt_labels, rng)
            >>> targets = [sampled["y_class"], sampled["y_regress"]]
            >>> model.classifier.train_on_batch([images, sampled["rois"]], targets)
        """
        order = random_order(rng, len(images), self.config.rpn.post_nms_train + gt_boxes.shape[1])
        return self.proposal_targets.predict_on_batch([images, image_sizes, gt_boxes, gt_labels, order])

    def _build(self, images, levels: Backbone, anchors, roi_pooling, head):
        """Build the sub-models on the feature levels."""
        config = self.config
        self.kind = kind = BOX_KINDS[config.box.kind]
        sizes = keras.Input((2,), name="image_sizes")
        gt_boxes = keras.Input((None, kind.size), name="gt_boxes")
        gt_labels = keras.Input((None,), dtype="int32", name="gt_labels")
        order = keras.Input((None,), dtype="int32", name="order")
        rois = keras.Input((None, kind.size), name="rois")

        self.features = list(levels.features)
        frozen = freezing.frozen_end(images, self.features)
        self.frozen_backbone = frozen if frozen is None else keras.Model(images, frozen, name="frozen")
        # The fields of ``anchors`` are the arguments of the generator.
        self.anchor_generator = AnchorGenerator(strides=levels.strides, **vars(anchors))
        self.num_anchors = self.anchor_generator.num_anchors
        # The smallest multiple of ``levels.size_multiple`` that is at least data.pad_multiple.
        self.size_multiple = levels.size_multiple * max(
            1, -(-config.data.pad_multiple // levels.size_multiple)
        )

        scores, deltas = heads.rpn(
            self.features,
            self.num_anchors,
            config.model.rpn_channels,
            kind.rpn_dim,
            levels.rpn_depth,
            kind.rpn_bias,
        )
        self.rpn = keras.Model(images, [scores, deltas], name="rpn")
        logits = self.rpn.get_layer("rpn_class_cells").output

        pool_size = (None if head else levels.pool_size) or config.model.pool_size
        roi_strides = levels.strides[: levels.roi_levels]
        pooling = roi_pooling or heads.roi_pooling(roi_strides, pool_size, config.model, kind)
        pooled_levels = self.features[: heads.count_levels(pooling, levels.strides)]
        widths, dropout = [config.model.head_width] * 2, config.model.head_dropout
        dense_head = functools.partial(heads.dense_head, widths=widths, dropout=dropout)
        head = head or levels.head or dense_head
        one_box = config.model.one_box_per_roi
        outputs = heads.classifier(
            pooled_levels, rois, self.num_classes, pooling, head, kind.head_dim, one_box
        )
        self.classifier = keras.Model([images, rois], outputs, name="classifier")
        # Without the backbone: the detector computes the features once, for the RPN and the classifier.
        self.region_classifier = keras.Model([pooled_levels, rois], outputs, name="region_classifier")
        self.cascade = Cascade(self.region_classifier, self.num_classes, config, kind)
        scores_of_rois = self.cascade.scores(pooled_levels, rois)
        self.box_classifier = Forward([images, rois], scores_of_rois, name="box_classifier")

        def propose(pre_nms, post_nms):
            options = (config.rpn.nms_iou, config.rpn.min_size, config.rpn.score_threshold)
            layer = ProposalLayer(self.anchor_generator, pre_nms, post_nms, *options, kind.name)
            return layer(images, logits, deltas, sizes)

        proposals = propose(config.rpn.pre_nms_train, config.rpn.post_nms_train)
        sample = ProposalTargetLayer(self.num_classes, **vars(config.roi), box_kind=kind.name)
        targets = sample(proposals, sizes, gt_boxes, gt_labels, order)
        inputs = [images, sizes, gt_boxes, gt_labels, order]
        self.proposal_targets = Forward(inputs, targets, name="proposal_targets")

        proposals = propose(config.rpn.pre_nms_test, config.rpn.post_nms_test)
        postprocess = PostprocessLayer(
            self.cascade.delta_weights[-1],
            config.detection.score_threshold,
            config.detection.min_size,
            config.detection.nms_iou,
            config.detection.max_detections,
            class_names.numbers_of(config.detection.classes, config.data.classes, "detection.classes"),
            kind.name,
            config.detection.soft_nms_sigma,
        )
        detections = postprocess(*self.cascade.detect(pooled_levels, proposals, sizes), sizes)
        self.detector = Forward([images, sizes], detections, name="detector")

        # XLA has no kernel for TensorFlow's NMS and crop_and_resize, and jit_compile="auto" would use
        # XLA on a GPU. JAX without XLA would run op by op.
        for model in (self.proposal_targets, self.detector, self.box_classifier):
            model.compile(jit_compile=not IS_TENSORFLOW)

    def _refuse_random_frozen(self):
        """Raise ``ConfigError`` if layers are frozen: their weights are still random."""
        layers = freezing.weighted_layers(self.detector)
        frozen = [layer.name for layer in layers if not layer.trainable]
        if frozen:
            raise ConfigError(
                f"{len(frozen)} layers are frozen, because model.weights is "
                f"{self.config.model.weights}, but have random weights: {listed(frozen)}. Build with "
                "frcnn.build_pretrained, which loads the weights, or set model.weights=none, which "
                "freezes nothing. If you load the weights yourself, pass allow_random_frozen=True"
            )


def _settings(name: str | None, config: Config | None) -> Config:
    """Return the settings of a network.

    Args:
        name: name of the backbone; None: the backbone is a Keras model.
        config: the given settings; None: the preset of the backbone, without pretrained weights.
    """
    if name is None:
        return config or Config().replace({"model.weights": "none"})
    if config:
        return config.replace({"model.backbone": name})
    config = Config().replace(presets.backbone_preset(name) | {"model.weights": "none"})
    return config.replace({"model.preprocessing": BACKBONES[name].preprocessing})


@contextlib.contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    """Set Keras' dtype policy for the layers that are created in this context."""
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(outside)
