"""Messages about a failed process, which it sends to the others by TensorFlow.

TensorFlow's coordination service sends the message. If a process dies, the service sends its own
message.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

from frcnn.backend import IS_TENSORFLOW
from frcnn.text import shown


def report_to_others(message: str) -> None:
    """Send a message to the other processes, and abort the collective operations in which they wait.

    JAX cannot send one: there the others notice that the connection is broken.
    """
    if not IS_TENSORFLOW:
        return
    import tensorflow as tf
    from tensorflow.python.eager import context

    with contextlib.suppress(Exception):  # the others may have ended already
        context.context().report_error_to_cluster(tf.errors.ABORTED, first_line(message))


def failure_of_another(error: str, addresses: Sequence[str]) -> str:
    """Return a line that names the other process that has failed, from an error of TensorFlow.

    Args:
        error: text of the error.
        addresses: address of each process, by rank.

    Returns:
        The line; "" if the error is not about another process.
    """
    if "Collective ops is aborted" not in error and "oordination" not in error:
        return ""
    reported = re.search(r"Error reported from /job:worker/(?:replica:0/)?task:(\d+): (.*)", error)
    task = re.search(r"unhealthy[^/]*/job:worker/replica:0/task:(\d+)|/task:(\d+)", error)
    rank = int(next(filter(None, task.groups()))) if task else len(addresses)
    if rank >= len(addresses):
        return f"another worker has ended or cannot be reached: {first_line(error)}"
    name = f"worker {rank} on {addresses[rank]}"
    if reported and "unhealthy" not in reported[2]:
        return f"{name} has stopped: {shown(reported[2])}"
    log = f"; its output is in workers/{rank}.log of the run directory" if rank else ""
    return f"{name} has died or cannot be reached{log}"


def first_line(text: object) -> str:
    """Return the beginning of a message of another process or of TensorFlow, as one safe line."""
    return shown(" ".join(str(text).split()))
