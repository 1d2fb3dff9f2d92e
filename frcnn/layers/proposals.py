"""Layers that make proposals, sample RoIs from proposals, and turn RoIs into detections.

B: images, H x W: pixels, L: feature cells, A: anchors per cell, P: proposals, G: ground-truth boxes
(padded), R: RoIs, C: classes with background last, M: detections, E: numbers per box, D: numbers per box
regression.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from frcnn.backend import IS_TENSORFLOW
from frcnn.ops import boxes as box_ops
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.box_kinds import BOX_KINDS
from frcnn.ops.postprocessing import postprocess
from frcnn.ops.proposals import propose
from frcnn.ops.sampling import sample_rois
from frcnn.ops.targets import roi_targets

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class ProposalLayer(layers.Layer):
    """Make proposals from the RPN's outputs, by ``frcnn.ops.proposals.propose``.

    Inputs: images (B, H, W, 3), of which only H and W are used; logits (B, L, A); deltas (B, L, A·D);
    image sizes (B, 2), height and width without padding, pixels. Output: proposals (B, P, E), best
    first.

    Args:
        anchor_generator: generator for the RPN's feature levels.
        pre_nms: number of anchors per level before NMS.
        post_nms: P, number of proposals per image after NMS.
        nms_iou, min_size, score_threshold: as for ``propose``.
        box_kind: a name in ``frcnn.ops.box_kinds.BOX_KINDS``.

    Example:
        >>> layer = ProposalLayer(anchor_generator, pre_nms=6000, post_nms=300)
        >>> proposals = layer(images, logits, deltas, image_sizes)  # (B, 300, 4)
    """

    def __init__(
        self,
        anchor_generator: AnchorGenerator,
        pre_nms: int,
        post_nms: int,
        nms_iou: float = 0.7,
        min_size: float = 1.0,
        score_threshold: float = 0.0,
        box_kind: str = "axis_aligned",
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.anchor_generator = anchor_generator
        self.pre_nms, self.post_nms = pre_nms, post_nms
        self.nms_iou, self.min_size, self.score_threshold = nms_iou, min_size, score_threshold
        self.box_kind, self.kind = box_kind, BOX_KINDS[box_kind]
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(self, images: Tensor, logits: Tensor, deltas: Tensor, image_sizes: Tensor) -> Tensor:
        batch, height, width = ops.shape(images)[:3]
        anchors, counts = self.anchor_generator(height, width)
        proposals, _ = propose(
            anchors,
            ops.reshape(logits, (batch, -1)),
            ops.reshape(deltas, (batch, -1, self.kind.rpn_dim)),
            image_sizes,
            counts,
            self.pre_nms,
            self.post_nms,
            self.nms_iou,
            self.min_size,
            self.score_threshold,
            self.kind,
        )
        return proposals

    def compute_output_shape(self, images_shape, *_):
        return (images_shape[0], self.post_nms, self.kind.size)

    def get_config(self) -> dict[str, Any]:
        names = ("pre_nms", "post_nms", "nms_iou", "min_size", "score_threshold", "box_kind")
        settings = {name: getattr(self, name) for name in names}
        return _own_config(super(), settings | {"anchor_generator": self.anchor_generator.get_config()})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ProposalLayer:
        return cls(**config | {"anchor_generator": AnchorGenerator(**config["anchor_generator"])})


@keras.saving.register_keras_serializable(package="frcnn")
class ProposalTargetLayer(layers.Layer):
    """Sample RoIs from the proposals, and make the classifier's targets and statistics of both.

    Inputs: proposals (B, P, E), image sizes (B, 2), gt_boxes (B, G, E), gt_labels (B, G), and order
    (B, P + G), a random permutation per image of the proposals and the ground-truth boxes, which are
    candidates, too. Output: a dict of float32 tensors without a gradient:

    - ``rois`` (B, R, E), ``y_class`` (B, R, C) and ``y_regress`` (B, R, 2·(C-1)·D), which is masks, then
      deltas: see ``frcnn.ops.targets.roi_targets``;
    - ``images`` (B,): 1, or 0 for an image of size 0, which only fills up a batch;
    - ``gt_count`` (B,): ground-truth boxes;
    - ``gt_found`` (B,): ground-truth boxes that at least one proposal covers (IoU of ``positive_iou``);
    - ``overlapping_boxes`` (B,): proposals that cover a ground-truth box (the same IoU);
    - ``positive_rois`` (B,): positive RoIs.

    Args:
        num_classes: C.
        samples: R.
        positive_fraction, positive_iou, negative_iou_low: as for ``frcnn.ops.sampling.sample_rois``.
        delta_weights: factors of dx, dy, dw, dh.
        box_kind: a name in ``frcnn.ops.box_kinds.BOX_KINDS``.

    Example:
        >>> sampled = ProposalTargetLayer(21)(proposals, image_sizes, gt_boxes, gt_labels, order)
        >>> rois, targets = sampled["rois"], (sampled["y_class"], sampled["y_regress"])
    """

    def __init__(
        self,
        num_classes: int,
        samples: int = 128,
        positive_fraction: float = 0.25,
        positive_iou: float = 0.5,
        negative_iou_low: float = 0.0,
        delta_weights: tuple[float, ...] = box_ops.HEAD_DELTA_WEIGHTS,
        box_kind: str = "axis_aligned",
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.num_classes, self.samples = num_classes, samples
        self.positive_fraction, self.positive_iou = positive_fraction, positive_iou
        self.negative_iou_low, self.delta_weights = negative_iou_low, tuple(delta_weights)
        self.box_kind, self.kind = box_kind, BOX_KINDS[box_kind]

    def call(
        self,
        proposals: Tensor,
        image_sizes: Tensor,
        gt_boxes: Tensor,
        gt_labels: Tensor,
        order: Tensor,
    ) -> dict[str, Tensor]:
        rois, labels, matches, _ = sample_rois(
            proposals,
            gt_boxes,
            gt_labels,
            order,
            self.samples,
            self.positive_fraction,
            self.positive_iou,
            self.negative_iou_low,
            self.kind,
        )
        y_class, y_regress = roi_targets(
            rois, labels, matches, gt_boxes, self.num_classes, self.delta_weights, self.kind
        )
        valid = ops.cast(gt_labels >= 0, "float32")
        # hits (B, G, P): whether a proposal covers a ground-truth box.
        overlaps = self.kind.iou(gt_boxes, proposals) * valid[..., None]
        hits = ops.cast(overlaps >= self.positive_iou, "float32")
        # No gradient flows through proposals: Ren et al. 2015, section 3.2.
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
        samples, classes = self.samples, self.num_classes
        shapes = {
            "rois": (samples, self.kind.size),
            "y_class": (samples, classes),
            "y_regress": (samples, 2 * (classes - 1) * self.kind.head_dim),
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

    def get_config(self) -> dict[str, Any]:
        names = (
            "num_classes samples positive_fraction positive_iou negative_iou_low delta_weights box_kind"
        )
        return _own_config(super(), {name: getattr(self, name) for name in names.split()})


@keras.saving.register_keras_serializable(package="frcnn")
class PostprocessLayer(layers.Layer):
    """Turn RoIs into detections, by ``frcnn.ops.postprocessing.postprocess``.

    Inputs: rois (B, R, E), scores (B, R, C), deltas (B, R, (C-1)·D), image sizes (B, 2). Outputs: boxes
    (B, M, E), scores (B, M) and labels (B, M), best first; padding has score 0 and label -1.

    Args:
        delta_weights, score_threshold, min_size, nms_iou, labels_to_detect, soft_nms_sigma: as for
            ``postprocess``.
        max_detections: M.
        box_kind: a name in ``frcnn.ops.box_kinds.BOX_KINDS``.

    Example:
        >>> boxes, scores, labels = PostprocessLayer()(rois, scores, deltas, image_sizes)
    """

    def __init__(
        self,
        delta_weights: tuple[float, ...] = box_ops.HEAD_DELTA_WEIGHTS,
        score_threshold: float = 0.05,
        min_size: float = 0.0,
        nms_iou: float = 0.3,
        max_detections: int = 100,
        labels_to_detect: tuple[int, ...] = (),
        box_kind: str = "axis_aligned",
        soft_nms_sigma: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.delta_weights = tuple(delta_weights)
        self.score_threshold, self.min_size = score_threshold, min_size
        self.nms_iou, self.max_detections = nms_iou, max_detections
        self.labels_to_detect, self.soft_nms_sigma = tuple(labels_to_detect), soft_nms_sigma
        self.box_kind, self.kind = box_kind, BOX_KINDS[box_kind]
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(
        self, rois: Tensor, scores: Tensor, deltas: Tensor, image_sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return postprocess(
            rois,
            scores,
            deltas,
            image_sizes,
            self.delta_weights,
            self.score_threshold,
            self.min_size,
            self.nms_iou,
            self.max_detections,
            self.labels_to_detect,
            self.kind,
            self.soft_nms_sigma,
        )

    def compute_output_spec(self, rois, *_):
        batch, most = rois.shape[0], self.max_detections
        return (
            keras.KerasTensor((batch, most, self.kind.size), "float32"),
            keras.KerasTensor((batch, most), "float32"),
            keras.KerasTensor((batch, most), "int32"),
        )

    def get_config(self) -> dict[str, Any]:
        names = "delta_weights score_threshold min_size nms_iou max_detections labels_to_detect box_kind"
        names += " soft_nms_sigma"
        return _own_config(super(), {name: getattr(self, name) for name in names.split()})


def _own_config(base, settings):
    """Return a layer's config without ``dtype``, which the constructor sets and does not take."""
    config = base.get_config() | settings
    del config["dtype"]
    return config
