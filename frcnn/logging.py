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

import contextlib
import functools
import operator
import pathlib
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

RUNS = ("train", "validation")


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
    named, scalars = _pair(names, logs), {}
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


def write_log(writer, names, logs, batch_no):
    """Write values under the names given: the ``write_log`` of the old keras-frcnn snippets.

    Unlike it, this refuses names that do not fit the values. No table is asked: the names are the
    tags.

    Args:
        writer: a ``tf.summary.create_file_writer(...)``; or, as in the snippets, a Keras ``TensorBoard``
            callback after ``callback.set_model(model)``, which writes to ``train/`` in its ``log_dir``.
        names: the tag of each value; or one tag, for one number. None, if ``logs`` is a dict.
        logs: what ``train_on_batch`` returned: a list, a tensor or a bare number; or a dict.
        batch_no: the step.

    Raises:
        ValueError: names that do not fit the values, a value that is not one number, or a callback
            without a model.
        TypeError: something else in the place of the writer, or a step that is not a whole number.
        OSError: the disk does not take it.
    """
    writer = _summary_writer(writer)
    _write(writer, _pair(names, logs), batch_no)
    with _disk_faults():
        writer.flush()


class RunLogger:
    """Writes the scalars of one training to two TensorBoard runs, ``train`` and ``validation``.

    Both have the same tags and count the same steps, those of training, so that TensorBoard lays
    their curves over each other. A run appears in the folder with its first scalar.
    """

    def __init__(self, run_dir, tags=TAGS, loop_tags=LOOP_TAGS):
        """Open the log.

        Args:
            run_dir: folder in which ``train/`` and ``validation/`` are made.
            tags: a table like ``TAGS``; the tags in it may be written.
            loop_tags: further tags that may be; ``("<any>",)`` allows all.
        """
        _tensorflow()  # a missing package must not show only after the first step
        self.run_dir = pathlib.Path(run_dir)
        self._known = (*(tag for row in tags.values() for tag in row.values()), *loop_tags)
        self._writers = {}

    def write(self, run, step, scalars):
        """Write scalars at a training step.

        Args:
            run: ``"train"`` or ``"validation"``.
            step: int, training steps done since the start, in either run.
            scalars: tag -> number. NaN and infinity are written as they are: they are to be seen.

        Raises:
            ValueError: an unknown run or tag, or a value that is not one number.
            TypeError: a step that is not an int.
            OSError: the disk does not take it.
        """
        if run not in RUNS:
            raise ValueError(f"unknown run {run!r}: it must be one of {RUNS}")
        unknown = [tag for tag in scalars if not any(_fits(tag, known) for known in self._known)]
        if unknown:
            raise ValueError(f"unknown tags {unknown}: known are {sorted(set(self._known))}")
        if run not in self._writers:
            create = _tensorflow().summary.create_file_writer
            with _disk_faults():
                self._writers[run] = create(str(self.run_dir / run))
        _write(self._writers[run], scalars, step)

    def flush(self):
        """Bring everything written so far to the files, for who looks on."""
        with _disk_faults():
            for writer in self._writers.values():
                writer.flush()

    def close(self):
        """Flush and close the files. A later ``write`` opens new ones beside them."""
        writers, self._writers = self._writers, {}
        with _disk_faults():
            for writer in writers.values():
                writer.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        # What ended the context is what is to be told, not that a full disk is still full.
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            self.close()


def _summary_writer(writer):
    """Return the ``tf.summary`` writer in what is one or a Keras ``TensorBoard`` callback."""
    if isinstance(writer, _tensorflow().summary.SummaryWriter):
        return writer
    if not hasattr(type(writer), "_train_writer"):
        raise TypeError(
            "write_log writes to a tf.summary.create_file_writer(...) or a Keras TensorBoard callback, "
            f"not to {writer!r}"
        )
    if not hasattr(writer, "_train_dir"):  # which set_model sets
        raise ValueError("the TensorBoard callback has no model yet: call callback.set_model(model)")
    with _disk_faults():
        return writer._train_writer


def _pair(names, logs):
    """Return name -> float of a dict, or of a list and the names for it."""
    if isinstance(logs, dict):
        if names is not None:
            raise ValueError(f"logs is a dict with names of its own, {list(logs)}, beside {names}")
        return {key: _number(key, value) for key, value in logs.items()}
    values = logs
    if not isinstance(logs, (list, tuple)):
        array = _array(logs)
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
    return {name: _number(name, value) for name, value in zip(names, values, strict=True)}


def _array(value):
    """Return a number, an array, a tensor or a variable as a numpy array."""
    # NumPy alone cannot make one of a bfloat16 scalar of TensorFlow's.
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def _number(name, value):
    """Return the one number in a float, an array or a tensor as a float."""
    try:
        (number,) = _array(value).reshape(-1)
        return float(number)
    except (TypeError, ValueError):
        raise ValueError(f"{name!r} must be one number, not {value!r}") from None


def _tag(key, row):
    """Return the tag that a row of the table gives a key, or None."""
    for pattern, tag in row.items():
        match = _regex(pattern).fullmatch(key)
        if match:
            return match.expand(tag.replace("<", r"\g<"))
    return None


def _fits(tag, pattern):
    return _regex(pattern).fullmatch(tag) is not None


@functools.cache
def _regex(pattern):
    """Compile a table's notation: ``<C>`` is a whole number, another ``<word>`` any text."""

    def group(word):
        text = r"\d+" if word[1] == "C" else ".+"
        return f"(?P<{word[1]}>{text})"

    return re.compile(re.sub(r"<(\w+)>", group, re.escape(pattern)))


def _write(writer, scalars, step):
    tf = _tensorflow()
    values = {tag: _number(tag, value) for tag, value in scalars.items()}
    if hasattr(step, "shape"):
        step = _array(step)  # a tensor or a variable, such as optimizer.iterations
    with _disk_faults(), writer.as_default(step=operator.index(step)):
        for tag, value in values.items():
            tf.summary.scalar(tag, value)


@contextlib.contextmanager
def _disk_faults():
    """Turn TensorFlow's errors into Python's own kind; writers have no others than the disk's."""
    try:
        yield
    except _tensorflow().errors.OpError as error:
        raise OSError(error.message.splitlines()[0].rsplit("; ", 1)[-1]) from error


def _tensorflow():
    """Import TensorFlow only to write, so that names can be given where it is not installed."""
    try:
        import tensorboard  # noqa: F401 (tf.summary.scalar needs it, and TensorFlow does not bring it)
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"writing TensorBoard logs needs {error.name}: pip install tensorflow tensorboard"
        ) from error
    return tf
