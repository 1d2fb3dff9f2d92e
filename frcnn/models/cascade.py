"""Cascade R-CNN: heads in a row, of which each refines the boxes of the one before.

Cai & Vasconcelos 2018, "Cascade R-CNN: Delving into High Quality Object Detection". A later stage learns
with a higher IoU, for which the boxes of the stage before are good enough. As in the paper, all classes
share the box of a RoI. The paper samples RoIs again for each stage; here those of the first stage stay.

B: images, R: RoIs, G: ground-truth boxes (padded), C: classes with background last, E: numbers per box,
D: numbers per box regression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from frcnn.config.schema import Config
from frcnn.errors import ConfigError
from frcnn.layers.cascade import RefineRois, StageTargetLayer
from frcnn.ops.box_kinds import BoxKind

Tensor = Any

# IoU from which a RoI of the second and the third stage is positive; the first has roi.positive_iou. The
# paper, section 4.
LATER_POSITIVE_IOUS = (0.6, 0.7)
# Factors of the stages' losses in the sum, those of mmdetection.
STAGE_WEIGHTS = (1.0, 0.5, 0.25)
# The end of the names of the layers of a later stage.
LATER_STAGE = re.compile(r"_stage[23]$")


class Cascade:
    """The stages of the classifier. With one stage it is Faster R-CNN.

    A later stage has the layers of the first with weights of its own. The names of its layers end in
    ``_stage2`` or ``_stage3``. The box deltas of stage n are n times as large as those of the first.

    Args:
        first: the first stage, from the list of pooled feature levels and rois (B, R, E) to class scores
            (B, R, C) and deltas (B, R, (C-1)·D).
        num_classes: C.
        config: the settings, of which ``model.cascade_stages`` and the section ``roi`` are used.
        kind: kind of the boxes.

    Attributes:
        stages: Keras models like ``first``, which is the first of them.
        delta_weights: for each stage, the factors of dx, dy, dw, dh.

    Raises:
        ConfigError: there are several stages, and the head is a Keras model, which cannot be copied.

    Example:
        >>> model = FasterRCNN("tiny", 4, config=config.replace({"model.cascade_stages": 3}))
        >>> [stage.output_names for stage in model.cascade.stages]
    """

    def __init__(self, first: keras.Model, num_classes: int, config: Config, kind: BoxKind):
        later = range(2, config.model.cascade_stages + 1)
        if later and any(isinstance(layer, keras.Model) for layer in first.layers):
            raise ConfigError("model.cascade_stages must be 1 with a head that is a Keras model")
        self.stages = [first, *(_copy(first, number) for number in later)]
        of_first = config.roi.delta_weights
        self.delta_weights = [delta_weights_of(index, of_first) for index in range(len(self.stages))]
        self._refine = [
            RefineRois(self.delta_weights[number - 2], kind.name, name=f"rois_stage{number}")
            for number in later
        ]
        self._targets = [
            StageTargetLayer(num_classes, iou, weights, kind.name, name=f"targets_stage{number}")
            for number, iou, weights in zip(later, LATER_POSITIVE_IOUS, self.delta_weights[1:])
        ]
        self._average = keras.layers.Average(dtype="float32", name="scores_of_stages")

    def scores(self, levels: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return (B, R, C): the mean of the scores that the stages give to the same boxes.

        Args:
            levels: feature levels, Keras tensors.
            rois: (B, R, E) Keras tensor.
        """
        return self._mean([stage([levels, rois])[0] for stage in self.stages])

    def detect(
        self, levels: Sequence[Tensor], rois: Tensor, image_sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run all stages on proposals.

        Args:
            levels: feature levels, Keras tensors.
            rois: (B, R, E) Keras tensor.
            image_sizes: (B, 2) height and width without padding, pixels.

        Returns:
            RoIs (B, R, E) of the last stage, the mean (B, R, C) of all stages' scores, and the deltas
            (B, R, (C-1)·D) of the last stage.
        """
        scores, deltas = self.stages[0]([levels, rois])
        stages = [(0, rois, scores, deltas), *self._later(levels, rois, deltas, image_sizes)]
        _, last_rois, _, last_deltas = stages[-1]
        return last_rois, self._mean([scores for _, _, scores, _ in stages]), last_deltas

    def train(
        self,
        levels: Sequence[Tensor],
        rois: Tensor,
        deltas: Tensor,
        image_sizes: Tensor,
        gt_boxes: Tensor,
        gt_labels: Tensor,
    ) -> dict[str, Tensor]:
        """Run the later stages on the sampled RoIs, and make their targets.

        Args:
            levels: feature levels, Keras tensors.
            rois: (B, R, E) RoIs of the first stage.
            deltas: (B, R, (C-1)·D) of the first stage.
            image_sizes: (B, 2) height and width without padding, pixels.
            gt_boxes: (B, G, E).
            gt_labels: (B, G) int32, -1 for padding.

        Returns:
            {name: Keras tensor} of both predictions and both targets of each later stage; see
            ``output_names`` of the stages and ``target_names``. With one stage it is empty.
        """
        found: dict[str, Tensor] = {}
        later = self._later(levels, rois, deltas, image_sizes)
        for make_targets, (index, own_rois, *predictions) in zip(self._targets, later):
            found |= dict(zip(self.stages[index].output_names, predictions))
            found |= dict(zip(target_names(index), make_targets(own_rois, gt_boxes, gt_labels)))
        return found

    def _later(self, levels, rois, deltas, image_sizes) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """Yield the index in ``stages``, RoIs, scores and deltas of each stage after the first."""
        for index, refine in enumerate(self._refine, start=1):
            rois = refine(rois, deltas, image_sizes)
            scores, deltas = self.stages[index]([levels, rois])
            yield index, rois, scores, deltas

    def _mean(self, scores):
        return self._average(scores) if len(scores) > 1 else scores[0]


def delta_weights_of(index: int, of_first: Sequence[float]) -> tuple[float, ...]:
    """Return the factors of a stage's box deltas: those of stage n are n times those of the first.

    Example:
        >>> delta_weights_of(1, (10.0, 10.0, 5.0, 5.0))
        (20.0, 20.0, 10.0, 10.0)
    """
    return tuple((index + 1) * factor for factor in of_first)


def target_names(index: int) -> tuple[str, str]:
    """Return the names of the two targets of a stage in a step model's outputs.

    Example:
        >>> target_names(0), target_names(1)
        (('y_class', 'y_regress'), ('y_class_stage2', 'y_regress_stage2'))
    """
    end = f"_stage{index + 1}" if index else ""
    return f"y_class{end}", f"y_regress{end}"


def _copy(first, number):
    """Return a copy of the first stage with new random weights and other names."""

    def renamed(layer):
        return type(layer).from_config(layer.get_config() | {"name": f"{layer.name}_stage{number}"})

    copy = keras.models.clone_model(first, clone_function=renamed)
    *levels, rois = copy.inputs
    return keras.Model([levels, rois], copy.outputs, name=f"{first.name}_stage{number}")
