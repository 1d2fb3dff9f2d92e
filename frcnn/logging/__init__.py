"""Named TensorBoard scalars from sub-model outputs: the table of names, the writer, the event files.

May import: errors, files. ``frcnn.logging`` alone is usable with any Keras model::

    from frcnn.logging import RunLogger, named_scalars
"""

from frcnn.logging.scalars import LOOP_TAGS, TAGS, named_scalars, with_total_loss
from frcnn.logging.writer import RUNS, RunLogger, write_log

__all__ = ["LOOP_TAGS", "RUNS", "TAGS", "RunLogger", "named_scalars", "with_total_loss", "write_log"]
