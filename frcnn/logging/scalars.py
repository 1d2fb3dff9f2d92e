"""The table from sub-model outputs to TensorBoard tags.

In Keras 3, ``model.metrics_names`` does not name the values that ``train_on_batch`` returns
(docs/logging.md). So all names come from the dict of ``return_dict=True``, and the table ``TAGS`` maps
them to tags. A name that is not in the table is an error.

The functions work for any Keras model that is trained with ``train_on_batch``::

    tags = TAGS | {"mask": {"loss": "mask/loss", "<key>": "mask/<key>"}}
    with RunLogger("runs/1", tags) as logger:
        logs = mask_model.train_on_batch(images, masks, return_dict=True)
        logger.write("train", step, named_scalars("mask", logs, tags=tags))

In a table, ``<C>`` matches any whole number and every other ``<word>`` any text; a tag may repeat the
word.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Tags = Mapping[str, Mapping[str, str]]

#: Sub-model -> key in Keras' logs -> tag in TensorBoard. The first key that matches counts.
TAGS: dict[str, dict[str, str]] = {
    "rpn": {
        "loss": "rpn/loss",
        "rpn_out_class_loss": "rpn/loss_cls",
        "rpn_out_regress_loss": "rpn/loss_regr",
    },
    "classifier": {
        "loss": "classifier/loss",
        "dense_class_<C>_loss": "classifier/loss_cls",
        "dense_regress_<C>_loss": "classifier/loss_regr",
        "dense_class_<C>_accuracy": "classifier/accuracy",
        "dense_class_<C>_stage<N>_loss": "classifier/stage<N>/loss_cls",
        "dense_regress_<C>_stage<N>_loss": "classifier/stage<N>/loss_regr",
        "dense_class_<C>_stage<N>_accuracy": "classifier/stage<N>/accuracy",
    },
}

#: Tags that the training loop and validation log besides the sub-models.
LOOP_TAGS = (
    "total_loss",
    "rpn/recall",
    "rpn/mean_overlapping_boxes",
    "classifier/positive_rois",
    "learning_rate/<sub_model>",
    "gradient_norm/<sub_model>",
    "time/<part>",
    "traces",
    "phase",
    "mAP",
    "AP/<class>",
    "F1",
    "F1_threshold",
    "calibration_error",
    "COCO/<name>",
)

#: Tags of pictures, curves, histograms and text, and the tags that TensorBoard gives to layouts.
OTHER_TAGS = (
    "pictures/<number>",
    "curves/<name>",
    "PR/<class>",
    "histograms/<name>",
    "config",
    "custom_scalars__config__",
    "_hparams_/<what>",
)


def named_scalars(
    sub_model: str, logs: Any, names: str | Sequence[str] | None = None, tags: Tags = TAGS
) -> dict[str, float]:
    """Return the values of ``train_on_batch`` or ``test_on_batch`` under their tags.

    Args:
        sub_model: a row of ``tags``: ``"rpn"`` or ``"classifier"``.
        logs: the dict of ``return_dict=True``; or a list, or a single number, with ``names``.
        names: the log key of each value in a list, or of a single number. Not ``model.metrics_names``.
        tags: the table; ``TAGS | {"mask": {...}}`` to log a further sub-model.

    Returns:
        {tag: float}, in the order of ``logs``.

    Raises:
        ValueError: an unknown sub-model or key, mismatched names and values, a value that is not one
            number, or two keys with the same tag.

    Example:
        >>> named_scalars("rpn", {"loss": 0.7, "rpn_out_class_loss": 0.5})
        {'rpn/loss': 0.7, 'rpn/loss_cls': 0.5}
    """
    if sub_model not in tags:
        raise ValueError(
            f"no tags for the sub-model {sub_model!r}: the table has {sorted(tags)}. "
            f"To log a model of your own, pass its row: tags=TAGS | "
            f'{{"{sub_model}": {{"<key>": "{sub_model}/<key>"}}}}'
        )
    named, scalars = pair_names(names, logs), {}
    for key, value in named.items():
        tag = _tag(key, tags[sub_model])
        if tag is None:
            raise ValueError(
                f"unknown key {key!r} in the logs of {sub_model!r}: received {named}, "
                f"but the table has {sorted(tags[sub_model])}"
            )
        if tag in scalars:
            raise ValueError(f"two of the keys {sorted(named)} would both be {tag!r}")
        scalars[tag] = value
    return scalars


def with_total_loss(scalars: Mapping[str, float]) -> dict[str, float]:
    """Add ``total_loss`` to scalars that hold the losses of both sub-models."""
    if "rpn/loss" in scalars and "classifier/loss" in scalars:
        return {**scalars, "total_loss": scalars["rpn/loss"] + scalars["classifier/loss"]}
    return dict(scalars)


def pair_names(names: str | Sequence[str] | None, logs: Any) -> dict[str, float]:
    """Return {name: float} of a dict, or of a list and its names."""
    if isinstance(logs, dict):
        if names is not None:
            raise ValueError(f"logs is a dict with names of its own, {list(logs)}, beside {names}")
        return {key: to_float(key, value) for key, value in logs.items()}
    values = logs
    if not isinstance(logs, (list, tuple)):
        array = to_numpy(logs)
        values = array if array.ndim else [logs]
    values = list(values)
    if names is None:
        raise ValueError(
            f"{len(values)} values without names, {values}: "
            "use return_dict=True, or give the name of each"
        )
    names = [names] if isinstance(names, str) else list(names)
    if len(names) != len(values):
        raise ValueError(f"{len(names)} names for {len(values)} values: {names} for {values}")
    if "compile_metrics" in names:
        raise ValueError(
            f"{names} are model.metrics_names, which do not name the values {values}: "
            "use return_dict=True (docs/logging.md)"
        )
    if len(set(names)) != len(names):
        raise ValueError(f"a name is there twice: {names} for {values}")
    return {name: to_float(name, value) for name, value in zip(names, values, strict=True)}


def to_numpy(value: Any) -> np.ndarray:
    """Convert a number, an array, a tensor or a variable to a numpy array."""
    # np.asarray alone fails for a bfloat16 scalar of TensorFlow.
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def to_float(name: str, value: Any) -> float:
    """Convert a number, or an array or tensor with one number, to a float."""
    try:
        (number,) = to_numpy(value).reshape(-1)
        return float(number)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} must be one number, not {value!r}") from None


def _tag(key, row):
    """Return the tag of a key in a row of the table, None if no pattern matches."""
    for pattern, tag in row.items():
        match = compile_pattern(pattern).fullmatch(key)
        if match:
            return match.expand(tag.replace("<", r"\g<"))
    return None


@functools.cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the notation of a table: ``<C>`` matches a whole number, another ``<word>`` any text."""

    def group(word):
        text = r"\d+" if word[1] == "C" else ".+"
        return f"(?P<{word[1]}>{text})"

    return re.compile(re.sub(r"<(\w+)>", group, re.escape(pattern)))
