"""The logs of a step, and the named scalars that are made from them.

The logs of a step are the numbers that belong to it, such as losses. They stay on the device until they
are read, so that the host can prepare the next step meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keras import ops

from frcnn.logging import named_scalars, with_total_loss
from frcnn.models.faster_rcnn import FasterRCNN

Tensor = Any


class StepLogs:
    """The logs of one step, {name: number}, as one array on the device.

    Args:
        names: names of the numbers.
        values: (len(names),) float32 on the device.
        applied: 1.0 on the device if the step updated the weights, 0.0 if the update was skipped; None:
            the step does not learn. It is a tensor of its own, because taking it out of ``values`` would
            cost the host a millisecond.

    Example:
        >>> logs, _ = step_model.run(inputs, targets, weights, learn=True)
        >>> logs.applied  # a tensor: the host does not wait
        >>> logs.read()  # the host waits until the step is done
        {"applied": 1.0, "rpn_loss": 0.7, ...}
    """

    def __init__(self, names: Sequence[str], values: Tensor, applied: Tensor | None = None):
        self.names, self.values, self.applied = tuple(names), values, applied

    def read(self) -> dict[str, float]:
        """Wait until the step is done, and return {name: number}."""
        return dict(zip(self.names, ops.convert_to_numpy(self.values).tolist()))


Logs = dict[str, StepLogs]  # by "rpn" and "classifier", or "joint"
HostScalars = dict[str, float]  # by tag: scalars that are already on the host


class StepScalars(Mapping[str, float]):
    """The scalars of a training step, {TensorBoard tag: value}, and whether it was applied.

    They stay on the device until one of them is read. Then the host waits until the step is done.

    Args:
        logs: {"rpn" and "classifier", or "joint": ``StepLogs``}.
        name_logs: function from the same dict, with logs as {name: float}, to {tag: value}.
        of_host: {tag: value} of scalars that are already on the host.

    Attributes:
        of_host: more scalars may be added to it until the first one is read.
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

        A step whose loss or gradient is not finite is skipped (``optimizers.SkipNonFinite``): it does
        not change weights, optimizers or batch normalization.
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
    of_stages = [name for stage in models.cascade.stages for name in stage.output_names]
    for sub_model, outputs in (("rpn", models.rpn.output_names), ("classifier", of_stages)):
        keys = [f"{output}_{what}" for output in outputs for what in ("loss", "accuracy")]
        own = {"loss": logs[f"{sub_model}_loss"]} | {key: logs[key] for key in keys if key in logs}
        scalars |= named_scalars(sub_model, own)
    return with_total_loss(scalars) | proposal_statistics(logs)


def proposal_statistics(sums: dict[str, float]) -> dict[str, float]:
    """Return the scalars that show whether proposals and sampling work.

    A proposal covers a ground-truth box if their IoU is at least ``roi.positive_iou``.

    Args:
        sums: {name: sum over the batch} of the outputs of ``FasterRCNN.proposal_targets`` that have one
            number per image.

    Returns:
        ``rpn/recall``: share of the ground-truth boxes that at least one proposal covers; missing if the
        batch has no box.
        ``rpn/mean_overlapping_boxes``: number of proposals per image that cover a box.
        ``classifier/positive_rois``: number of sampled RoIs per image that are positive.
    """
    images = max(sums["images"], 1.0)
    scalars = {
        "rpn/mean_overlapping_boxes": sums["overlapping_boxes"] / images,
        "classifier/positive_rois": sums["positive_rois"] / images,
    }
    if sums["gt_count"]:
        scalars["rpn/recall"] = sums["gt_found"] / sums["gt_count"]
    return scalars
