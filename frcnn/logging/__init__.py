"""Named TensorBoard values from sub-model outputs: the table of names, the writer, the event files.

May import: text, errors, files, backend. ``frcnn.logging`` alone is usable with any Keras model::

    from frcnn.logging import RunLogger, named_scalars
"""

from typing import Any

from frcnn.logging.scalars import LOOP_TAGS, OTHER_TAGS, TAGS, named_scalars, with_total_loss
from frcnn.logging.writer import RUNS, RunLogger, write_log

__all__ = [
    "LOOP_TAGS",
    "NamedScalars",
    "OTHER_TAGS",
    "RUNS",
    "TAGS",
    "RunLogger",
    "named_scalars",
    "with_total_loss",
    "write_log",
]


def __getattr__(name: str) -> Any:
    if name == "NamedScalars":  # imports Keras, which the table of names does not need
        from frcnn.logging.callback import NamedScalars

        return NamedScalars
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
