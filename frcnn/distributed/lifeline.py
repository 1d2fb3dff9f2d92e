"""The pipe by which a worker learns that its launcher, or another worker of its machine, has ended.

The launcher (``launcher``) holds the writing end of one pipe for each worker. If a worker fails,
it writes the reason to the pipes of the others and closes them. If the launcher is killed, the system
closes them. A thread of the worker waits for that from the first lines of ``scripts/train.py`` on.
"""

import contextlib
import os
import sys
import threading
import time

# The descriptor of the reading end; so it says, too, that a launcher has started this process.
VARIABLE = "FRCNN_LIFELINE"
# An error that all workers find at the same time is to be printed by each of them.
NOTICE_SECONDS = 3
# Of a worker that ends because another one did.
EXIT_STATUS = 3


def is_worker(environment=os.environ):
    """Return whether a launcher has started this process."""
    return VARIABLE in environment


def watch(environment=os.environ):
    """Have this process end soon after its launcher or another worker; nothing if it has no launcher."""
    if is_worker(environment):
        threading.Thread(target=_run, args=[int(environment[VARIABLE])], daemon=True).start()


def _run(descriptor):
    with open(descriptor, "rb") as pipe:
        reason = pipe.read().decode("utf-8", "replace")
    time.sleep(NOTICE_SECONDS)
    # Whatever this process is doing it may never come back from: so nothing in it is asked to end.
    with contextlib.suppress(OSError, ValueError):
        reason = reason or "the launcher of the workers has died"
        print(f"error: {reason}; this worker ends as well", file=sys.stderr, flush=True)
        sys.stdout.flush()
    os._exit(EXIT_STATUS)
