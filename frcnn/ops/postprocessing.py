"""From the classifier's outputs to detections.

Letters: B images, R RoIs, C classes with background last, M detections at most.
"""

from keras import ops

from frcnn.ops import boxes as box_ops
from frcnn.ops.nms import nms_by_class


def postprocess(rois, scores, deltas, image_sizes, delta_weights, config):
    """Return the detections of each image, best first.

    Every RoI may become a detection of each object class, at that class's own box.

    Args:
        rois: (B, R, 4); empty boxes are padding.
        scores: (B, R, C) class scores.
        deltas: (B, R, (C-1)·4).
        image_sizes: (B, 2) height and width without padding, pixels.
        delta_weights: what the deltas were multiplied by.
        config: ``DetectionConfig``: ``score_threshold``, which detections must score above;
            ``min_size``, pixels; ``nms_iou``, which a detection may overlap a better one of its class
            by; ``max_detections``, M.

    Returns:
        boxes (B, M, 4), scores (B, M), labels (B, M) int32. Padding: score 0, label -1.
    """
    classes = scores.shape[-1] - 1
    batch, count = ops.shape(rois)[0], ops.shape(rois)[1]
    deltas = ops.reshape(deltas, (batch, count, classes, 4))
    boxes = box_ops.decode(deltas, rois[:, :, None, :], delta_weights)
    boxes = box_ops.clip(ops.reshape(boxes, (batch, count * classes, 4)), image_sizes)
    sides = boxes[..., 2:] - boxes[..., :2]
    exists = ops.repeat(box_ops.area(rois) > 0.0, classes, axis=1)
    exists = exists & ops.all((sides > 0.0) & (sides >= config.min_size), axis=-1)
    scores = ops.reshape(scores[..., :classes], (batch, count * classes))
    scores = ops.where(exists & (scores > config.score_threshold), scores, 0.0)
    # What does not count becomes empty, so that it suppresses nothing.
    boxes = ops.where(scores[..., None] > 0.0, boxes, 0.0)
    labels = ops.tile(ops.cast(ops.arange(classes), "int32"), (count,))

    def thin(image):
        image_boxes, image_scores = image
        kept = nms_by_class(image_boxes, image_scores, labels, config.nms_iou, config.max_detections)
        place = ops.maximum(kept, 0)
        kept_scores = ops.where(kept >= 0, ops.take(image_scores, place), 0.0)
        kept_labels = ops.where(kept_scores > 0.0, ops.take(labels, place), -1)
        return ops.take(image_boxes, place, axis=0), kept_scores, kept_labels

    return ops.map(thin, (boxes, scores))
