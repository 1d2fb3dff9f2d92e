"""The parts of a training step that are neither forward nor backward pass, one by one."""

import itertools
import tempfile

import numpy as np

from frcnn.benchmark.worker import config_of, random_batch


def operations(spec):
    """Return {name: (function, times a step)} of what a step does besides.

    Args:
        spec: of a step, as ``frcnn.benchmark.worker`` takes it.

    Returns:
        Functions without arguments, on random boxes, logits and deltas, at the settings of the spec's
        backbone. "anchor targets" belong to the input pipeline, which makes them during another step.
    """
    from keras import ops

    from frcnn import models as models_
    from frcnn.backend import compiled
    from frcnn.logging import RunLogger
    from frcnn.means import Means
    from frcnn.proposals import propose
    from frcnn.rpn_at_cells import sampled_cells
    from frcnn.run_writer import EPOCH_TAGS
    from frcnn.sampling import random_order, sample_rois
    from frcnn.targets import RpnTargeter, roi_targets

    config, rng = config_of(spec), np.random.default_rng(0)
    # Only the anchors and the multiple of the network are needed, so it may be narrow.
    narrow = config.replace({"model.head_width": 8, "model.rpn_channels": 8})
    models = models_.build(narrow, spec["classes"])
    rpn, roi = config.rpn, config.roi
    batch = random_batch(models, config, spec)
    count, height, width = batch.images.shape[:3]
    targeter = RpnTargeter(models.pyramid, rpn)

    corner = rng.uniform(0, 0.6, (count, rpn.post_nms_train, 2))
    size = rng.uniform(0.05, 0.4, corner.shape)
    scale = [width, height, width, height]
    candidates = (np.concatenate([corner, corner + size], axis=-1) * scale).astype("float32")

    @compiled
    def sample(proposals, gt_boxes, gt_labels, order):
        rois, labels, matches, _ = sample_rois(proposals, gt_boxes, gt_labels, order, roi.samples)
        return roi_targets(rois, labels, matches, gt_boxes, models.num_classes, roi.delta_weights)

    def sample_and_target():
        order = random_order(rng, count, candidates.shape[1] + batch.gt_boxes.shape[1])
        made = sample(candidates, batch.gt_boxes, batch.gt_labels, order)
        return [ops.convert_to_numpy(part) for part in made]

    anchors, counts = models.pyramid(height, width)
    anchors = ops.convert_to_numpy(anchors)
    logits = rng.normal(0, 2, (count, len(anchors))).astype("float32")
    deltas = rng.normal(0, 0.1, (count, len(anchors), 4)).astype("float32")

    @compiled
    def propose_(anchors, logits, deltas):
        numbers = (rpn.pre_nms_train, rpn.post_nms_train, rpn.nms_iou, rpn.min_size, rpn.score_threshold)
        return propose(anchors, logits, deltas, batch.image_sizes, counts, *numbers)

    folder = tempfile.TemporaryDirectory()
    logger, means, steps = RunLogger(folder.name), Means(), itertools.count(1)
    extra = ("learning_rate/rpn", "learning_rate/classifier", "time/step", "time/data", "traces")
    scalars = {tag: 0.5 for tag in (*EPOCH_TAGS, *extra)}

    def log(keep=folder):
        logger.write("train", next(steps), scalars)

    def propose_now():
        return ops.convert_to_numpy(propose_(anchors, logits, deltas)[0])

    return {
        "anchor targets": (lambda: targeter(batch, rng), 1.0),
        "cells of sampled anchors": (lambda: sampled_cells(*batch.targets, rpn.samples), 1.0),
        "RoI sampling and targets": (sample_and_target, 1.0),
        "proposals": (propose_now, 1.0),
        "running means": (lambda: means.add(scalars), 1.0),
        "logging": (log, 1.0 / config.train.log_every),
    }


def shares(seconds, step_seconds):
    """Return {name: share of a step}, with "all" and "all but anchor targets".

    Args:
        seconds: {name: seconds of a step}.
        step_seconds: of the whole step, measured apart.
    """
    found = {name: value / step_seconds for name, value in seconds.items()}
    total = sum(found.values())
    return found | {
        "all": total,
        "all but anchor targets": total - found.get("anchor targets", 0.0),
    }
