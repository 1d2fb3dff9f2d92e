"""Writes named scalars, pictures and curves to TensorBoard, in two runs of a run directory."""

from __future__ import annotations

import contextlib
import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.logging import summaries as summaries_module
from frcnn.logging.scalars import (
    LOOP_TAGS,
    OTHER_TAGS,
    TAGS,
    Tags,
    compile_pattern,
    pair_names,
    to_float,
    to_numpy,
)
from frcnn.logging.summaries import Summary
from frcnn.logging.trackers import Tracker
from frcnn.text import echo

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
    """Writes what a training logs to two TensorBoard runs, ``train`` and ``validation``.

    Both have the same tags and training steps, so that TensorBoard overlays their curves. A run's folder
    is created with the first value.

    Args:
        run_dir: folder for ``train/`` and ``validation/``.
        tags: a table like ``TAGS``, whose tags may be written.
        loop_tags: further tags that may be written; ``("<any>",)`` allows all.
        trackers: objects that get scalars and pictures, too. A tracker that fails is dropped, with a
            warning. ``close`` closes them.
    """

    def __init__(
        self,
        run_dir: pathlib.Path | str,
        tags: Tags = TAGS,
        loop_tags: Sequence[str] = LOOP_TAGS,
        trackers: Sequence[Tracker] = (),
    ):
        _tensorflow()  # a missing package is an error now, not after the first step
        self.run_dir = pathlib.Path(run_dir)
        self._known = (*(tag for row in tags.values() for tag in row.values()), *loop_tags)
        self._writers: dict[str, Any] = {}
        self.trackers = list(trackers)

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
        values = {tag: to_float(tag, value) for tag, value in scalars.items()}
        _write(self._writer(run, scalars, self._known), values, step)
        self._track("write_scalars", run, _whole(step), values)

    def write_images(self, run: str, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Write pictures, {tag: (H, W, 3) uint8 RGB}, at a training step. Raises: as ``write``."""
        self.write_summaries(run, step, [summaries_module.image(*item) for item in images.items()])
        self._track("write_images", run, _whole(step), images)

    def write_summaries(self, run: str, step: int, summaries: Sequence[Summary]) -> None:
        """Write results of the functions of ``frcnn.logging.summaries``. Raises: as ``write``.

        Example:
            >>> logger.write_summaries("train", step, [histogram("histograms/weights", weights)])
        """
        tags = [value.tag for summary in summaries for value in summary.value]
        writer = self._writer(run, tags, OTHER_TAGS)
        write_raw = _tensorflow().summary.experimental.write_raw_pb
        with _disk_faults(), writer.as_default(step=_whole(step)):
            for summary in summaries:
                write_raw(summary.SerializeToString())

    def write_traced_graph(self, run: str, step: int) -> None:
        """Write the graph that TensorFlow traced since ``tf.summary.trace_on(graph=True)``."""
        with _disk_faults(), self._writer(run, (), ()).as_default():
            _tensorflow().summary.trace_export("step", step)

    def _track(self, method, *arguments):
        """Call a method of each tracker. Drop a tracker that fails: it must not end the training."""
        for tracker in [*self.trackers]:
            try:
                getattr(tracker, method)(*arguments)
            except Exception as error:
                self.trackers.remove(tracker)
                name = type(tracker).__name__
                echo(f"warning: {name} failed and gets no more values: {type(error).__name__}: {error}")

    def _writer(self, run, tags, all_known):
        """Check the tags, and return the run's writer, which is opened if need be."""
        if run not in RUNS:
            raise ValueError(f"unknown run {run!r}: it must be one of {RUNS}")
        unknown = [tag for tag in tags if not any(_fits(tag, known) for known in all_known)]
        if unknown:
            raise ValueError(f"unknown tags {unknown}: known are {sorted(set(all_known))}")
        if run not in self._writers:
            create = _tensorflow().summary.create_file_writer
            with _disk_faults():
                self._writers[run] = create(str(self.run_dir / run))
        return self._writers[run]

    def flush(self) -> None:
        """Write everything so far to the files."""
        with _disk_faults():
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """Flush and close the files and the trackers. A later ``write`` opens new files."""
        self._track("close")
        self.trackers.clear()
        writers, self._writers = self._writers, {}
        with _disk_faults():
            for writer in writers.values():
                writer.close()

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # If an error ended the context, that one must be raised, and not one of closing the files.
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
    with _disk_faults(), writer.as_default(step=_whole(step)):
        for tag, value in values.items():
            tf.summary.scalar(tag, value)


def _whole(step):
    """Return a step as an int. It may be a tensor or a variable, such as ``optimizer.iterations``."""
    return operator.index(to_numpy(step) if hasattr(step, "shape") else step)


@contextlib.contextmanager
def _disk_faults():
    """Turn TensorFlow's errors, which here come from the disk, into ``OSError``."""
    try:
        yield
    except _tensorflow().errors.OpError as error:
        raise OSError(error.message.splitlines()[0].rsplit("; ", 1)[-1]) from error


def _tensorflow():
    """Import TensorFlow when something is written: the table of names works without it."""
    try:
        import tensorboard  # noqa: F401 (tf.summary.scalar needs it, and TensorFlow does not bring it)
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"writing TensorBoard logs needs {error.name}: pip install tensorflow tensorboard"
        ) from error
    return tf
