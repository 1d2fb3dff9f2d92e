"""Sub-model outputs -> named TensorBoard scalars: each value under its right name.

``model.metrics_names`` does not name what ``train_on_batch`` returns in Keras 3 (docs/logging.md
shows how), so every name here comes from the dict of ``return_dict=True`` and passes through one
table, ``TAGS``. What the table does not know is an error, never a guess.

Nothing here knows of boxes or of our models, so it serves any Keras model trained with
``train_on_batch``::

    tags = TAGS | {"mask": {"loss": "mask/loss", "<key>": "mask/<key>"}}
    with RunLogger("runs/1", tags) as logger:
        logs = mask_model.train_on_batch(images, masks, return_dict=True)
        logger.write("train", step, named_scalars("mask", logs, tags=tags))

In a table, ``<C>`` stands for any whole number and every other ``<word>`` for any text; a tag may
repeat the word.
"""

import functools
import re

import numpy as np

#: Sub-model -> key in what Keras logs -> tag in TensorBoard. The first key that fits counts.
TAGS = {
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
    },
}

#: Tags that no sub-model logs: the loop and the validation measure these themselves.
LOOP_TAGS = (
    "total_loss",
    "rpn/recall",
    "rpn/mean_overlapping_boxes",
    "classifier/positive_rois",
    "learning_rate/<sub_model>",
    "time/<part>",
    "traces",
    "phase",
    "mAP",
    "AP/<class>",
)


def named_scalars(sub_model, logs, names=None, tags=TAGS):
    """Give each value that ``train_on_batch`` or ``test_on_batch`` returned its tag.

    Args:
        sub_model: a row of ``tags``: ``"rpn"`` or ``"classifier"``.
        logs: the dict of ``return_dict=True``; or a list (a bare number, of a model with nothing
            but a loss) with ``names`` for it.
        names: the log key of each value of a list, or the one key. Not ``model.metrics_names``.
        tags: the table, like ``TAGS``; ``TAGS | {"mask": {...}}`` to log a sub-model of your own.

    Returns:
        Tag -> float, in the order of ``logs``.

    Raises:
        ValueError: an unknown sub-model or key, names that do not fit the values, a value that is
            not one number, or two keys under one tag.
    """
    if sub_model not in tags:
        raise ValueError(
            f"no tags for the sub-model {sub_model!r}: the table has {sorted(tags)}. "
            f"To log a model of your own, hand in its row: tags=TAGS | "
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


def with_total_loss(scalars):
    """Return the scalars with ``total_loss``, where they hold the losses of both sub-models."""
    if "rpn/loss" in scalars and "classifier/loss" in scalars:
        return {**scalars, "total_loss": scalars["rpn/loss"] + scalars["classifier/loss"]}
    return dict(scalars)


def pair_names(names, logs):
    """Return name -> float of a dict, or of a list and the names for it."""
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
            f"{names} are model.metrics_names, which are not the names of {values}: "
            "use return_dict=True (docs/logging.md)"
        )
    if len(set(names)) != len(names):
        raise ValueError(f"a name is there twice: {names} for {values}")
    return {name: to_float(name, value) for name, value in zip(names, values, strict=True)}


def to_numpy(value):
    """Return a number, an array, a tensor or a variable as a numpy array."""
    # NumPy alone cannot make one of a bfloat16 scalar of TensorFlow's.
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def to_float(name, value):
    """Return the one number in a float, an array or a tensor as a float."""
    try:
        (number,) = to_numpy(value).reshape(-1)
        return float(number)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} must be one number, not {value!r}") from None


def _tag(key, row):
    """Return the tag that a row of the table gives a key, or None."""
    for pattern, tag in row.items():
        match = compile_pattern(pattern).fullmatch(key)
        if match:
            return match.expand(tag.replace("<", r"\g<"))
    return None


@functools.cache
def compile_pattern(pattern):
    """Compile a table's notation: ``<C>`` is a whole number, another ``<word>`` any text."""

    def group(word):
        text = r"\d+" if word[1] == "C" else ".+"
        return f"(?P<{word[1]}>{text})"

    return re.compile(re.sub(r"<(\w+)>", group, re.escape(pattern)))
