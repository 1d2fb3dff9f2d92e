"""Signals that ask a run to stop, which it does once its checkpoint is written.

SIGTERM is how clusters and containers end a process, SIGUSR1 what Slurm can be told to send before it
preempts a job, SIGINT Ctrl-C.
"""

import signal
import threading

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)


class Interruption:
    """Context in which these signals are noted instead of ending the process.

    A second Ctrl-C does end it, with ``KeyboardInterrupt``.

    Attributes:
        signal: name of the first signal that came, None before.
    """

    def __init__(self):
        self.signal = None
        self._before = {}

    def __enter__(self):
        # Only the main thread may; a run in another one is interrupted by whoever started it.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        if number == signal.SIGINT and self.signal:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number).name
