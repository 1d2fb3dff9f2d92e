"""A pipe from the launcher, by which a worker notices that the launcher or another worker has ended.

TensorFlow's health check begins only after all workers have joined, and it does not check the launcher.
If the launcher is killed (SIGKILL), workers would stay on the GPUs.

The launcher has the writing end of one pipe per worker. If a worker fails, the launcher writes the
reason to the pipes of the others and closes them. If the launcher is killed, the system closes them. In
each worker a thread waits for the end of the pipe, from the start of the command.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Mapping

# Environment variable with the descriptor of the reading end. Only workers of a launcher have it.
VARIABLE = "FRCNN_LIFELINE"
# Time for this worker to print its own error, if all workers have the same error.
NOTICE_SECONDS = 3
# Exit status of a worker that ends because another one did.
EXIT_STATUS = 3


def is_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the launcher has started this process."""
    return VARIABLE in environment


def watch(environment: Mapping[str, str] = os.environ) -> None:
    """End this process soon after its launcher or another worker. Does nothing without a launcher."""
    if is_worker(environment):
        threading.Thread(target=_run, args=[int(environment[VARIABLE])], daemon=True).start()


def _run(descriptor):
    with open(descriptor, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    time.sleep(NOTICE_SECONDS)
    # os._exit, because the main thread may wait in TensorFlow without end.
    with contextlib.suppress(OSError, ValueError):
        reason = reason or "the launcher of the workers has died"
        print(f"error: {reason}; this worker ends as well", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(EXIT_STATUS)
