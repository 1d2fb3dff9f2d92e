"""``NamedScalars``: the names of the table for models that are trained with ``model.fit``."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from frcnn.logging.scalars import TAGS, Tags, named_scalars
from frcnn.logging.trackers import Tracker
from frcnn.logging.writer import RunLogger


class NamedScalars(keras.callbacks.Callback):
    """A Keras callback that logs a model's losses and metrics under the tags of a table.

    Training and validation are two TensorBoard runs with the same tags. The step of both is the number
    of training batches so far, which goes on through several calls of ``fit``. A logged training value
    is the mean since the epoch began, as ``fit`` computes it.

    Args:
        run_dir: folder for ``train/`` and ``validation/``.
        sub_model: name of the row of ``tags`` that this model uses.
        tags: the table. For a model of your own, ``{"<name>": {"<key>": "<name>/<key>"}}``.
        every: training values are logged at the first batch and at every ``every``-th batch.
        trackers: objects that get the scalars, too (``frcnn.logging.trackers``).

    Raises:
        ValueError: the table has no such row, ``every`` is below 1, or a key has no tag.

    Example:
        >>> tags = {"net": {"<key>": "net/<key>"}}
        >>> model.fit(x, y, validation_data=(x2, y2), callbacks=[NamedScalars("runs/1", "net", tags)])
    """

    def __init__(
        self,
        run_dir: pathlib.Path | str,
        sub_model: str,
        tags: Tags = TAGS,
        every: int = 10,
        trackers: Sequence[Tracker] = (),
    ):
        super().__init__()
        if sub_model not in tags:
            raise ValueError(f"no tags for the sub-model {sub_model!r}: the table has {sorted(tags)}")
        if every < 1:
            raise ValueError(f"every must be 1 or more, not {every}")
        self._logger = RunLogger(run_dir, tags, trackers=trackers)
        self._sub_model, self._tags, self._every = sub_model, tags, every
        self._step = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._step += 1
        if self._step == 1 or self._step % self._every == 0:
            self._write("train", dict(logs or {}))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        named = (logs or {}).items()
        of_validation = {key[4:]: value for key, value in named if key.startswith("val_")}
        if of_validation:
            self._write("validation", of_validation)
        self._logger.flush()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self._logger.close()

    def _write(self, run, logs):
        self._logger.write(run, self._step, named_scalars(self._sub_model, logs, tags=self._tags))
