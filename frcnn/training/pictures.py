"""The pictures of a run.

A validation image is drawn with its ground truth, proposals, sampled RoIs and detections. A training
image is drawn as the network gets it, with its ground truth, positive anchors and sampled RoIs.

P: proposals, R: RoIs, H x W: pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from keras import ops

from frcnn.data import oriented
from frcnn.data.loader import Batch
from frcnn.evaluation.curves import IGNORED, above, match_boxes
from frcnn.evaluation.voc_ap import iou
from frcnn.inspection import stages
from frcnn.inspection.stages import BoxGroup, Panel
from frcnn.ops.anchors import AnchorGenerator

SHOWN_PROPOSALS = 50  # those with the highest scores
Arrays = Mapping[str, np.ndarray]


def chosen_batches(images: int, batch_size: int, pictures: int) -> dict[int, int]:
    """Return {number of the batch: number of its images to draw}, spread evenly over a split.

    The order of validation images is always the same, so the same images are drawn in every validation.

    Args:
        images: number of images of the split, this process's share.
        batch_size: images per batch, this process's share.
        pictures: number of images to draw.
    """
    indices = np.linspace(0, images - 1, min(pictures, images)).round().astype(int)
    found, counts = np.unique(indices // batch_size, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist()))


@dataclasses.dataclass(frozen=True, eq=False)
class Stages:
    """The results of all stages of the detector for one validation image.

    All boxes are in pixels of the network input.

    Attributes:
        name: name of the image.
        image: (H, W, 3), without padding.
        truth: ``boxes``, ``labels`` and ``difficult`` of the objects.
        proposals: (P, 4), the highest score first.
        rois: (R, 4), without padding.
        is_positive: (R,) bool.
        found: ``boxes``, ``scores`` and ``labels`` of the detections.
    """

    name: str
    image: np.ndarray
    truth: Arrays
    proposals: np.ndarray
    rois: np.ndarray
    is_positive: np.ndarray
    found: Arrays


def stages_of(batch: Batch, outputs: Mapping[str, Any], row: int) -> Stages:
    """Return the stages of one image of a validation batch.

    Args:
        batch: batch of the validation.
        outputs: outputs of ``validation_step_model``.
        row: row of the image in the batch.
    """
    arrays = {
        name: ops.convert_to_numpy(outputs[name][row])
        for name in ("proposals", "rois", "y_class", "boxes", "scores", "labels")
    }
    height, width = batch.image_sizes[row].astype(int)
    sample = batch.samples[row]
    factors = np.array([width / sample.width, height / sample.height])
    kind = "axis_aligned" if arrays["boxes"].shape[-1] == 4 else "oriented"
    rois, is_positive = _sampled(arrays["rois"], arrays["y_class"])
    proposals = arrays["proposals"]
    exists = arrays["scores"] > 0.0
    return Stages(
        sample.name,
        batch.images[row, :height, :width],
        sample.truth() | {"boxes": oriented.stretch(sample.boxes_of(kind), factors)},
        proposals[(np.diff(oriented.outer(proposals).reshape(-1, 2, 2), axis=1) > 0).all(axis=(1, 2))],
        rois,
        is_positive,
        {name: arrays[name][exists] for name in ("boxes", "scores", "labels")},
    )


def draw_stages(
    one: Stages, classes: Sequence[str], score_threshold: float, iou_threshold: float, side: int
) -> np.ndarray:
    """Draw ground truth, proposals, RoIs and detections of a validation image.

    Args:
        one: the image and its boxes.
        classes: names of the object classes.
        score_threshold: detections with a lower score are not drawn.
        iou_threshold: least IoU with an object of a hit, and of a proposal that counts as on the object.
        side: long side of each panel, pixels.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    truth = one.truth
    difficult = np.asarray(truth["difficult"], bool)
    names = [stages.short(classes[label]) for label in truth["labels"]]

    def objects(chosen, name, colour):
        kept = np.flatnonzero(chosen)
        return BoxGroup(name, truth["boxes"][kept], colour, [names[index] for index in kept])

    shown = one.proposals[:SHOWN_PROPOSALS]
    on_object = (iou(shown.astype("float64"), truth["boxes"]) >= iou_threshold).any(axis=1)
    found = above(one.found, score_threshold)
    matched = match_boxes(found, truth, iou_threshold)
    is_object = matched >= 0
    is_hit = is_object & (np.append(truth["labels"], -1)[matched] == found["labels"])
    missed = ~difficult
    missed[matched[is_hit]] = False
    texts = [
        f"{stages.short(classes[label])} {score:.2f}"
        for label, score in zip(found["labels"], found["scores"])
    ]

    def detections(chosen, name, colour):
        kept = np.flatnonzero(chosen)
        return BoxGroup(name, found["boxes"][kept], colour, [texts[index] for index in kept])

    panels = [
        Panel(
            "ground truth",
            _not_empty(objects(difficult, "difficult", stages.UNDECIDED))
            + [objects(~difficult, "object", stages.TRUTH)],
        ),
        Panel(
            f"RPN: the best {len(shown)} of {len(one.proposals)} proposals",
            [
                BoxGroup("elsewhere", shown[~on_object], stages.UNDECIDED, width=1),
                BoxGroup("on an object", shown[on_object], stages.RIGHT, width=1),
            ],
        ),
        _roi_panel(one.rois, one.is_positive),
        Panel(
            f"detections, score {score_threshold:.2f} or more",
            _not_empty(detections(matched == IGNORED, "on difficult", stages.UNDECIDED))
            + [
                objects(missed, "missed", stages.MISSED),
                detections(~is_hit & (matched != IGNORED), "false alarm", stages.WRONG),
                detections(is_hit, "hit", stages.RIGHT),
            ],
        ),
    ]
    return stages.picture(one.image, panels, one.name, side)


def draw_training(
    batch: Batch,
    outputs: Mapping[str, Any],
    row: int,
    anchor_generator: AnchorGenerator,
    side: int,
) -> np.ndarray:
    """Draw an image of a training step, flipped and resized as the network got it.

    Args:
        batch: batch with RPN targets.
        outputs: outputs of the step model, with ``rois`` and ``y_class``.
        row: row of the image in the batch.
        anchor_generator: the network's generator.
        side: long side of each panel, pixels.

    Returns:
        (H', W', 3) uint8 RGB.
    """
    height, width = batch.image_sizes[row].astype(int)
    valid = batch.gt_labels[row] >= 0
    anchors = positive_anchors(batch, row, anchor_generator)
    rois, y_class = (ops.convert_to_numpy(outputs[name][row]) for name in ("rois", "y_class"))
    panels = [
        Panel(
            "ground truth, and the anchors sampled for it",
            [
                BoxGroup("positive anchor", anchors, stages.RIGHT, width=1),
                BoxGroup("object", batch.gt_boxes[row][valid], stages.TRUTH),
            ],
        ),
        _roi_panel(*_sampled(rois, y_class)),
    ]
    return stages.picture(batch.images[row, :height, :width], panels, batch.samples[row].name, side)


def positive_anchors(batch: Batch, row: int, anchor_generator: AnchorGenerator) -> np.ndarray:
    """Return the (K, 4) anchors of an image that are sampled as positive."""
    anchors = ops.convert_to_numpy(anchor_generator(*batch.images.shape[1:3])[0])
    cells, count = batch.targets.cells[row], anchor_generator.num_anchors
    valid, label = np.split(batch.targets.y_class[row], 2, axis=-1)
    slots, numbers = np.nonzero((valid > 0) & (label > 0) & (cells[:, None] >= 0))
    return anchors[cells[slots] * count + numbers]


def _sampled(rois, y_class):
    """Return the RoIs without padding, and whether each is positive."""
    exists = y_class.sum(axis=-1) > 0
    return rois[exists], y_class[exists, :-1].any(axis=-1)


def _roi_panel(rois, is_positive):
    return Panel(
        "RoIs sampled for the classifier",
        [
            BoxGroup("negative", rois[~is_positive], stages.UNDECIDED, width=1),
            BoxGroup("positive", rois[is_positive], stages.RIGHT),
        ],
    )


def _not_empty(group):
    """Return [group], or [] if it has no box."""
    return [group] if len(group.boxes) else []
