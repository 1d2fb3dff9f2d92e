"""Keras layers of the region proposals: make them, sample RoIs from them, and turn RoIs into detections.

Letters: B images, N anchors, P proposals, G ground-truth boxes (padded), R RoIs, C classes with
background last, M detections.
"""

import keras
from keras import layers, ops

from frcnn.backend import IS_TENSORFLOW
from frcnn.ops import boxes as box_ops
from frcnn.ops.postprocessing import postprocess
from frcnn.ops.proposals import propose
from frcnn.ops.sampling import sample_rois
from frcnn.ops.targets import roi_targets


class ProposalLayer(layers.Layer):
    """``proposals.propose`` on the RPN's outputs and the anchors of the images.

    Args:
        config: ``RpnConfig``.
        pyramid: ``anchors.AnchorGenerator``.
        pre_nms, post_nms: proposals before (a level) and after suppression.
    """

    def __init__(self, config, anchor_generator, pre_nms, post_nms, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config, self.anchor_generator = config, anchor_generator
        self.pre_nms, self.post_nms = pre_nms, post_nms
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(self, images, logits, deltas, image_sizes):
        batch, height, width = ops.shape(images)[:3]
        anchors, counts = self.anchor_generator(height, width)
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


class ProposalTargetLayer(layers.Layer):
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


class PostprocessLayer(layers.Layer):
    """``postprocessing.postprocess`` with a config's thresholds."""

    def __init__(self, config, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.config = config
        self.supports_jit = not IS_TENSORFLOW  # XLA has no kernel for TensorFlow's NMS

    def call(self, rois, scores, deltas, image_sizes):
        weights = self.config.roi.delta_weights
        return postprocess(rois, scores, deltas, image_sizes, weights, self.config.detection)

    def compute_output_spec(self, rois, *_):
        batch, most = rois.shape[0], self.config.detection.max_detections
        return (
            keras.KerasTensor((batch, most, 4), "float32"),
            keras.KerasTensor((batch, most), "float32"),
            keras.KerasTensor((batch, most), "int32"),
        )
