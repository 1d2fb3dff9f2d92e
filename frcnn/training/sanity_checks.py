"""Warnings about settings and data that are valid but cannot work, and about a loss that explodes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from frcnn.config.schema import Config
from frcnn.data import transforms
from frcnn.data.sample import Dataset
from frcnn.ops.anchors import AnchorGenerator
from frcnn.runs.run_state import RunState
from frcnn.training.four_step import NUM_PHASES

EARLY_STEPS = 20  # later losses are compared with the mean loss of these steps
EXPLODED = 10.0  # factor by which the running mean of an exploding loss is above that mean
MOMENTUM = 0.9  # of the running mean of the loss: about the last ten steps


def warnings_of(
    config: Config,
    anchor_generator: AnchorGenerator,
    train_set: Dataset,
    val_set: Dataset,
    steps: int,
) -> list[str]:
    """Return one sentence for each problem in settings and data that prevents a good detector.

    Args:
        config: the settings of the run.
        anchor_generator: the network's generator.
        train_set: data set to train on.
        val_set: data set to validate on.
        steps: number of steps of the run.
    """
    if config.train.schedule == "four-step":
        steps //= NUM_PHASES  # each phase has its own warm-up
    found = [
        _warm_up(config.optimizer, steps),
        _only_difficult(train_set),
        _unmatched(config, train_set, anchor_generator),
        _nothing_to_find(val_set),
        _no_angle(config, train_set),
    ]
    return [text for text in found if text]


def _warm_up(optimizer, steps):
    warmup = optimizer.warmup_steps
    cut = min([1.0, *optimizer.decay_at]) * steps
    if warmup <= cut:
        return None
    reached = optimizer.learning_rate * cut / warmup
    return (
        f"the warm-up of {warmup} steps (optimizer.warmup_steps) is longer than the {cut:.0f} steps "
        f"until the run ends or the learning rate is reduced: the rate reaches only {reached:.2g}, not "
        f"{optimizer.learning_rate:g}; train longer or lower optimizer.warmup_steps"
    )


def _only_difficult(dataset):
    marks = _difficult(dataset)
    if not len(marks) or not marks.all():
        return None
    return (
        f"all {len(marks)} boxes of {dataset.name} are marked difficult, and training does not use such "
        "boxes: only background is learnt; remove the marks from the annotations"
    )


def _nothing_to_find(dataset):
    marks = _difficult(dataset)
    if not marks.all():
        return None
    why = f"only boxes marked difficult ({len(marks)})" if len(marks) else "no box"
    return (
        f"{dataset.name} has {why}, so there is no object to find: mAP will be nan, and "
        "best.weights.h5 will be the last weights"
    )


def _no_angle(config, dataset):
    if config.box.kind != "oriented" or any(sample.oriented is not None for sample in dataset.samples):
        return None
    return (
        f"box.kind=oriented, but no object of {dataset.name} has an angle: the detector learns boxes of "
        "the angle 0; docs/oriented.md lists the labels that have angles"
    )


def _difficult(dataset):
    return np.concatenate([np.zeros(0, bool), *(sample.difficult for sample in dataset.samples)])


def _unmatched(config, dataset, anchor_generator):
    """Warn if less than half of the boxes can match an anchor, even one that is centred on them."""
    corners = np.concatenate(anchor_generator.bases)
    anchor_sides = corners[:, 2:] - corners[:, :2]
    boxes = [np.zeros((0, 2))]
    for sample in dataset.samples:
        resized, _ = transforms.resized_size(sample.width, sample.height, config.data)
        sides = (sample.boxes[:, 2:] - sample.boxes[:, :2])[~sample.difficult]
        boxes.append(sides * np.divide(resized, (sample.width, sample.height)))
    boxes = np.concatenate(boxes)[:, None]
    if not len(boxes):
        return None
    shared = np.minimum(boxes, anchor_sides).prod(-1)
    overlaps = shared / (boxes.prod(-1) + np.prod(anchor_sides, axis=-1) - shared)
    threshold = config.rpn.negative_iou
    missed = np.sum(overlaps.max(1) < threshold)
    if 2 * missed <= len(boxes):
        return None
    own, theirs = (np.sqrt(sides.prod(-1)).ravel() for sides in (anchor_sides, boxes))
    return (
        f"{missed} of the {len(boxes)} boxes of {dataset.name} cannot have an IoU of {threshold:g} "
        f"(rpn.negative_iou) with any anchor: the anchors have sides of {own.min():.0f} to "
        f"{own.max():.0f} pixels of the network input, but half of the boxes have sides of "
        f"{np.quantile(theirs, 0.25):.0f} to {np.quantile(theirs, 0.75):.0f}; `frcnn inspect` suggests "
        "anchors.sizes"
    )


def watch_loss(progress: RunState, scalars: Mapping[str, float], step: int) -> str | None:
    """Add the loss of a step to its running mean. Return a warning if it has exploded, once per run.

    Args:
        progress: the run state. Its ``loss`` is updated: [number of steps, mean loss of the first
            ``EARLY_STEPS`` steps, running mean, whether the warning was given].
        scalars: scalars of the step, with ``total_loss``.
        step: number of the step.
    """
    count, early, running, is_warned = progress.loss
    loss = scalars["total_loss"]
    if count < EARLY_STEPS:
        early += (loss - early) / (count + 1)
        running = early
    else:
        running = MOMENTUM * running + (1.0 - MOMENTUM) * loss
    has_exploded = running > EXPLODED * early > 0.0
    progress.loss = [count + 1, early, running, is_warned or has_exploded]
    if is_warned or not has_exploded:
        return None
    return (
        f"step {step}: the loss is {running / early:.0f} times the mean of the first {EARLY_STEPS} "
        "steps: the training diverges; a lower optimizer.learning_rate or optimizer.clip_norm may help"
    )
