"""The named scalars of a step: made of the step models' logs, read from the device when needed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from frcnn.logging import named_scalars, with_total_loss
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.step_model import StepLogs

Tensor = Any
Logs = dict[str, StepLogs]  # by sub-model, or "joint"
HostScalars = dict[str, float]  # by tag: what the host knows without the device


class StepScalars(Mapping[str, float]):
    """The scalars of a training step, {TensorBoard tag: value}, and whether it was applied.

    All stay on the device until one is asked for. Then the host waits for the step.

    Args:
        logs: {sub-model, or "joint": ``StepLogs``}.
        name_logs: from the logs as floats to {tag: value}.
        of_host: {tag: value} of scalars that the host knows.

    Attributes:
        of_host: those; more may be added until the values are read.
    """

    def __init__(
        self,
        logs: Logs,
        name_logs: Callable[[dict[str, dict[str, float]]], dict[str, float]],
        of_host: HostScalars,
    ):
        self._logs, self._name_logs, self.of_host = logs, name_logs, of_host

    @functools.cached_property
    def _read(self):
        return {name: own.read() for name, own in self._logs.items()}

    @functools.cached_property
    def _values(self):
        return self._name_logs(self._read) | self.of_host

    @property
    def applied(self) -> bool:
        """Whether the step was applied.

        A step with a loss or gradient that is not finite is skipped (``optimizers.SkipNonFinite``): it
        changes neither weights nor optimizers nor batch normalization.
        """
        *_, applied = (own["applied"] for own in self._read.values() if "applied" in own)
        return applied > 0

    def __getitem__(self, tag: str) -> float:
        return self._values[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __or__(self, other: Mapping[str, float]) -> dict[str, float]:
        return {**self, **other}


def step_scalars(models: FasterRCNN, logs: dict[str, float]) -> dict[str, float]:
    """Return {TensorBoard tag: value} for the logs of a step.

    Args:
        models: the network.
        logs: logs of ``StepModel.run``, of both sub-models together.
    """
    scalars: dict[str, float] = {}
    for sub_model in ("rpn", "classifier"):
        outputs = getattr(models, sub_model).output_names
        keys = [f"{output}_{what}" for output in outputs for what in ("loss", "accuracy")]
        own = {"loss": logs[f"{sub_model}_loss"]} | {key: logs[key] for key in keys if key in logs}
        scalars |= named_scalars(sub_model, own)
    return with_total_loss(scalars) | proposal_statistics(logs)


def proposal_statistics(sums: dict[str, float]) -> dict[str, float]:
    """Return the scalars that show whether proposals and sampling work.

    A proposal covers a box if their IoU is at least ``roi.positive_iou``.

    Args:
        sums: sums over the batch of the outputs of ``FasterRCNN.proposal_targets`` that have one number
            per image.

    Returns:
        ``rpn/recall``: share of the ground-truth boxes that a proposal covers; missing if the batch has
        no box.
        ``rpn/mean_overlapping_boxes``: proposals per image that cover a box.
        ``classifier/positive_rois``: positive RoIs per image among the sampled RoIs.
    """
    images = max(sums["images"], 1.0)
    scalars = {
        "rpn/mean_overlapping_boxes": sums["overlapping_boxes"] / images,
        "classifier/positive_rois": sums["positive_rois"] / images,
    }
    if sums["gt_count"]:
        scalars["rpn/recall"] = sums["gt_found"] / sums["gt_count"]
    return scalars
