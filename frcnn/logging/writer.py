"""Writes named scalars to TensorBoard, in the runs ``train`` and ``validation`` of a run directory."""

from __future__ import annotations

import contextlib
import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from frcnn.logging.scalars import LOOP_TAGS, TAGS, Tags, compile_pattern, pair_names, to_float, to_numpy

RUNS = ("train", "validation")


def write_log(writer: Any, names: str | Sequence[str] | None, logs: Any, batch_no: int) -> None:
    """Write values under the given tags: the ``write_log`` of the old keras-frcnn snippets.

    Unlike those, it refuses names that do not match the values.

    Args:
        writer: a ``tf.summary.create_file_writer(...)``; or, as in the snippets, a Keras ``TensorBoard``
            callback after ``callback.set_model(model)``, which writes to ``train/`` in its ``log_dir``.
        names: the tag of each value, or one tag for one number; None if ``logs`` is a dict.
        logs: result of ``train_on_batch``: a list, a tensor, a number or a dict.
        batch_no: the step.

    Raises:
        ValueError: mismatched names and values, a value that is not one number, or a callback without a
            model.
        TypeError: ``writer`` is neither of the two, or ``batch_no`` is not a whole number.
        OSError: the file cannot be written.
    """
    writer = _summary_writer(writer)
    _write(writer, pair_names(names, logs), batch_no)
    with _disk_faults():
        writer.flush()


class RunLogger:
    """Writes the scalars of a training to two TensorBoard runs, ``train`` and ``validation``.

    Both have the same tags and training steps, so that TensorBoard overlays their curves. A run's folder
    is created with its first scalar.

    Args:
        run_dir: folder for ``train/`` and ``validation/``.
        tags: a table like ``TAGS``, whose tags may be written.
        loop_tags: further tags that may be written; ``("<any>",)`` allows all.
    """

    def __init__(
        self, run_dir: pathlib.Path | str, tags: Tags = TAGS, loop_tags: Sequence[str] = LOOP_TAGS
    ):
        _tensorflow()  # a missing package is an error now, not after the first step
        self.run_dir = pathlib.Path(run_dir)
        self._known = (*(tag for row in tags.values() for tag in row.values()), *loop_tags)
        self._writers: dict[str, Any] = {}

    def write(self, run: str, step: int, scalars: Mapping[str, Any]) -> None:
        """Write scalars at a training step.

        Args:
            run: ``"train"`` or ``"validation"``.
            step: number of training steps since the start, in both runs.
            scalars: {tag: number}. NaN and infinity are written as they are.

        Raises:
            ValueError: an unknown run or tag, or a value that is not one number.
            TypeError: a step that is not a whole number.
            OSError: the file cannot be written.
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

    def flush(self) -> None:
        """Write everything so far to the files."""
        with _disk_faults():
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Flush and close the files. A later ``write`` opens new ones."""
        writers, self._writers = self._writers, {}
        with _disk_faults():
            for writer in writers.values():
                writer.close()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, kind, *_) -> None:
        # The error that ended the context must be raised, not one of closing, such as a full disk.
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            self.close()


def _summary_writer(writer):
    """Return the argument, or the ``tf.summary`` writer of a Keras ``TensorBoard`` callback."""
    if isinstance(writer, _tensorflow().summary.SummaryWriter):
        return writer
    if not hasattr(type(writer), "_train_writer"):
        raise TypeError(
            "write_log writes to a tf.summary.create_file_writer(...) or a Keras TensorBoard callback, "
            f"not to {writer!r}"
        )
    if not hasattr(writer, "_train_dir"):  # set by set_model
        raise ValueError("the TensorBoard callback has no model yet: call callback.set_model(model)")
    with _disk_faults():
        return writer._train_writer


def _fits(tag, pattern):
    return compile_pattern(pattern).fullmatch(tag) is not None


def _write(writer, scalars, step):
    tf = _tensorflow()
    values = {tag: to_float(tag, value) for tag, value in scalars.items()}
    if hasattr(step, "shape"):
        step = to_numpy(step)  # a tensor or a variable, such as optimizer.iterations
    with _disk_faults(), writer.as_default(step=operator.index(step)):
        for tag, value in values.items():
            tf.summary.scalar(tag, value)


@contextlib.contextmanager
def _disk_faults():
    """Turn TensorFlow's errors, which come from the disk, into ``OSError``."""
    try:
        yield
    except _tensorflow().errors.OpError as error:
        raise OSError(error.message.splitlines()[0].rsplit("; ", 1)[-1]) from error


def _tensorflow():
    """Import TensorFlow only for writing, so that the table of names works without it."""
    try:
        import tensorboard  # noqa: F401 (tf.summary.scalar needs it, and TensorFlow does not bring it)
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"writing TensorBoard logs needs {error.name}: pip install tensorflow tensorboard"
        ) from error
    return tf
