"""The parts of a training step that are not convolutions, one by one."""

import numpy as np


def operations(height, width, boxes):
    """Return {name: function} at the paper's settings: stride 16, 9 anchors, 2000 proposals."""
    from keras import ops

    from frcnn.anchors import Pyramid
    from frcnn.backend import compiled
    from frcnn.config import Config
    from frcnn.data.pipeline import Batch
    from frcnn.proposals import propose
    from frcnn.rpn_at_cells import sampled_cells
    from frcnn.sampling import random_order, sample_rois
    from frcnn.targets import RpnTargeter, roi_targets

    config, rng = Config(), np.random.default_rng(0)

    def random_boxes(count):
        corner = rng.uniform(0, 0.6, (1, count, 2))
        size = rng.uniform(0.05, 0.4, (1, count, 2))
        scale = [width, height, width, height]
        return (np.concatenate([corner, corner + size], axis=-1) * scale).astype("float32")

    gt_boxes, gt_labels = random_boxes(boxes), np.arange(boxes, dtype="int32")[None] % 20
    sizes = np.array([[height, width]], "float32")
    pixels = np.zeros((1, -(-height // 16) * 16, -(-width // 16) * 16, 3), "uint8")
    batch = Batch(pixels, sizes, gt_boxes, gt_labels, np.ones(1, "float32"), ())
    targeter = RpnTargeter(Pyramid(config.anchors, (16,)), config.rpn)
    targets = targeter(batch, rng)

    candidates = random_boxes(config.rpn.post_nms_train)

    @compiled
    def sample(proposals, gt_boxes, gt_labels, order):
        rois, labels, matches, _ = sample_rois(proposals, gt_boxes, gt_labels, order)
        return roi_targets(rois, labels, matches, gt_boxes, 21, config.roi.delta_weights)

    def sample_and_target():
        order = random_order(rng, 1, candidates.shape[1] + boxes)
        return [ops.convert_to_numpy(y) for y in sample(candidates, gt_boxes, gt_labels, order)]

    anchors = random_boxes(pixels.shape[1] * pixels.shape[2] // 256 * 9)[0]
    logits = rng.normal(0, 2, (1, len(anchors))).astype("float32")
    deltas = rng.normal(0, 0.1, (1, len(anchors), 4)).astype("float32")

    @compiled
    def propose_(anchors, logits, deltas):
        rpn = config.rpn
        counts = [len(anchors)]
        return propose(anchors, logits, deltas, sizes, counts, rpn.pre_nms_train, rpn.post_nms_train)

    return {
        "anchor targets": lambda: targeter(batch, rng),
        "cells of sampled anchors": lambda: sampled_cells(*targets, config.rpn.samples),
        "RoI sampling and targets": sample_and_target,
        "proposals": lambda: ops.convert_to_numpy(propose_(anchors, logits, deltas)[0]),
    }
