"""Write named scalars to TensorBoard: one run directory with the runs ``train`` and ``validation``."""

import contextlib
import operator
import pathlib

from frcnn.logging.scalars import LOOP_TAGS, TAGS, compile_pattern, pair_names, to_float, to_numpy

RUNS = ("train", "validation")


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
    _write(writer, pair_names(names, logs), batch_no)
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
