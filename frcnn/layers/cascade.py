"""Layers between the stages of a Cascade R-CNN. Cai & Vasconcelos 2018.

B: images, R: RoIs, G: ground-truth boxes (padded), C: classes with background last, E: numbers per box,
D: numbers per box regression.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from frcnn.ops.box_kinds import BOX_KINDS
from frcnn.ops.sampling import label_rois
from frcnn.ops.targets import roi_targets

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class RefineRois(layers.Layer):
    """Make the RoIs of a stage from the boxes that the stage before predicts.

    Inputs: rois (B, R, E), deltas (B, R, (C-1)·D), which are the same for all classes, and image sizes
    (B, 2). Output: rois (B, R, E), clipped to the images, without a gradient. A RoI that is empty, or
    becomes so, is an empty box (all 0), which is padding.

    Args:
        delta_weights: factors of dx, dy, dw, dh of the stage before.
        box_kind: a name in ``frcnn.ops.box_kinds.BOX_KINDS``.

    Example:
        >>> second_rois = RefineRois((10, 10, 5, 5))(rois, deltas, image_sizes)
    """

    def __init__(self, delta_weights: tuple[float, ...], box_kind: str = "axis_aligned", **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.delta_weights = tuple(delta_weights)
        self.box_kind, self.kind = box_kind, BOX_KINDS[box_kind]

    def call(self, rois: Tensor, deltas: Tensor, image_sizes: Tensor) -> Tensor:
        kind = self.kind
        boxes = kind.decode(deltas[..., : kind.head_dim], rois, self.delta_weights)
        boxes = kind.clip(boxes, image_sizes)
        exists = (kind.area(rois) > 0.0) & (kind.area(boxes) > 0.0)
        return ops.stop_gradient(ops.where(exists[..., None], boxes, 0.0))

    def compute_output_shape(self, rois_shape, *_):
        return rois_shape

    def get_config(self) -> dict[str, Any]:
        return _own_config(super(), {"delta_weights": self.delta_weights, "box_kind": self.box_kind})


@keras.saving.register_keras_serializable(package="frcnn")
class StageTargetLayer(layers.Layer):
    """Make the targets of a stage for all its RoIs, without sampling.

    Inputs: rois (B, R, E), gt_boxes (B, G, E), gt_labels (B, G). Outputs: y_class (B, R, C) and
    y_regress (B, R, 2·(C-1)·D); see ``frcnn.ops.targets.roi_targets``.

    Args:
        num_classes: C.
        positive_iou: a RoI is positive if its highest IoU with a ground-truth box is at least this.
        delta_weights: factors of dx, dy, dw, dh.
        box_kind: a name in ``frcnn.ops.box_kinds.BOX_KINDS``.

    Example:
        >>> y_class, y_regress = StageTargetLayer(21, 0.6, (20, 20, 10, 10))(rois, gt_boxes, gt_labels)
    """

    def __init__(
        self,
        num_classes: int,
        positive_iou: float,
        delta_weights: tuple[float, ...],
        box_kind: str = "axis_aligned",
        **kwargs: Any,
    ):
        super().__init__(dtype="float32", **kwargs)
        self.num_classes, self.positive_iou = num_classes, positive_iou
        self.delta_weights = tuple(delta_weights)
        self.box_kind, self.kind = box_kind, BOX_KINDS[box_kind]

    def call(self, rois: Tensor, gt_boxes: Tensor, gt_labels: Tensor) -> tuple[Tensor, Tensor]:
        labels, matches = label_rois(rois, gt_boxes, gt_labels, self.positive_iou, self.kind)
        # One box more, as ``label_rois`` has, so that there is a match even without ground truth.
        gt_boxes = ops.pad(gt_boxes, [[0, 0], [0, 1], [0, 0]])
        targets = roi_targets(
            rois, labels, matches, gt_boxes, self.num_classes, self.delta_weights, self.kind
        )
        y_class, y_regress = (ops.stop_gradient(target) for target in targets)
        return y_class, y_regress

    def compute_output_spec(self, rois, *_):
        width = 2 * (self.num_classes - 1) * self.kind.head_dim
        shapes = ((*rois.shape[:2], size) for size in (self.num_classes, width))
        return tuple(keras.KerasTensor(shape, "float32") for shape in shapes)

    def get_config(self) -> dict[str, Any]:
        names = ("num_classes", "positive_iou", "delta_weights", "box_kind")
        return _own_config(super(), {name: getattr(self, name) for name in names})


def _own_config(base, settings):
    """Return a layer's config without ``dtype``, which the constructor sets and does not take."""
    config = base.get_config() | settings
    del config["dtype"]
    return config
