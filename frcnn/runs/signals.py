"""Signals that ask a run to stop: SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGHUP.

Clusters and containers end a process with SIGTERM, Slurm can send SIGUSR1 before a time limit, and
SIGHUP comes when the terminal or connection is closed. After each of them a run saves a checkpoint and
exits with status 0. Before its first step there is nothing to save, and it exits at once. A signal that
was ignored when the program started (``nohup``) stays ignored.

The command calls ``listen`` in its first lines. From then on the signals are blocked in all threads, and
one thread waits for them. Python's signal handlers are not enough: they run between two instructions of
the main thread, so they do not run while TensorFlow connects to other processes, and TensorFlow replaces
them by its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from frcnn.errors import NothingToSave

# Windows has SIGINT and SIGTERM only.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
# The process exits if the main thread has not ended after this time. It may wait in TensorFlow for
# another process without end.
PATIENCE_SECONDS = 5.0
STATUS = 0
# Interrupts system calls of the main thread. Nothing else uses this signal, and by default it is
# ignored.
WAKE = getattr(signal, "SIGURG", None)


def stop_message(number: int) -> str:
    """Return the message of a run that stops before its first step."""
    return (
        f"{signal.Signals(number).name}: stopped before the first step of this start; there is nothing "
        "new to save"
    )


def exit_now(number: int) -> None:
    """Exit the process, as a run that was asked to stop before its first step."""
    with contextlib.suppress(OSError, ValueError):  # the console is gone
        print(stop_message(number), flush=True)
    os._exit(STATUS)


class _Listener:
    """The thread that waits for the signals.

    Attributes:
        handler: function that this thread calls with each signal's number.
    """

    def __init__(self):
        self.numbers = _not_ignored()
        # Printing to a closed terminal raises an error, which would end the run before it saves.
        self.terminals = [fd for fd in (1, 2) if _is_terminal(fd)]
        self.handler = exit_now
        signal.signal(WAKE, _raise_pending)
        signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            number = signal.sigwait(self.numbers)
            if number == getattr(signal, "SIGHUP", None):
                _silence(self.terminals)
            self.handler(number)


_listener: _Listener | None = None


def listen() -> None:
    """Handle the signals from now on, even while the main thread is in TensorFlow.

    A signal ends the process at once, except within ``handle_with``. Call this function in the main
    thread, before any other thread is started. It does nothing on a system that cannot block signals
    (Windows): there, only ``handle_with`` handles signals.
    """
    global _listener
    if _listener is None and hasattr(signal, "pthread_sigmask") and hasattr(signal, "sigwait"):
        _listener = _Listener()


@contextlib.contextmanager
def handle_with(handler: Callable[[int], None]) -> Iterator[None]:
    """Call ``handler`` with the number of each signal within this context.

    The thread of ``listen`` calls it; without ``listen``, the main thread does. Without ``listen``, a
    context in another thread than the main one does nothing.
    """
    if _listener is not None:
        before, _listener.handler = _listener.handler, handler
        try:
            yield
        finally:
            _listener.handler = before
        return
    former = {}
    if threading.current_thread() is threading.main_thread():
        terminals = [fd for fd in (1, 2) if _is_terminal(fd)]

        def handle(number, _):
            if number == getattr(signal, "SIGHUP", None):
                _silence(terminals)
            handler(number)

        former = {number: signal.signal(number, handle) for number in _not_ignored()}
    try:
        yield
    finally:
        for number, previous in former.items():
            signal.signal(number, previous)


def stop_main_thread(number: int) -> None:
    """Raise ``NothingToSave`` in the main thread; exit the process if that thread does not end soon."""
    if _raised:  # the main thread is already ending
        return
    if threading.current_thread() is not threading.main_thread():
        timer = threading.Timer(PATIENCE_SECONDS, exit_now, [number])
        timer.daemon = True
        timer.start()
    _raise_in_main_thread(NothingToSave(stop_message(number)))


_raised: list[BaseException] = []  # errors that the main thread was asked to raise, the latest last


def _raise_in_main_thread(error):
    """Raise an error in the main thread, as soon as it runs Python code."""
    _raised.append(error)
    if threading.current_thread() is threading.main_thread():
        raise error
    signal.pthread_kill(threading.main_thread().ident, WAKE)  # it may be waiting in a system call


def _raise_pending(*_):
    raise _raised[-1]


class StopSignals:
    """Context of a training loop in which a stop signal is recorded and does not end the process.

    Until ``can_save`` is set, a signal raises ``NothingToSave`` in the main thread. After that, a second
    Ctrl-C raises ``KeyboardInterrupt`` there.

    Attributes:
        signal: name of the first signal after ``can_save`` was set, None before it.
        can_save: the training loop sets it after its first step.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.can_save = False
        self._handling = handle_with(self._record)

    def __enter__(self) -> StopSignals:
        self._handling.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handling.__exit__(*error)

    def _record(self, number):
        if not self.can_save:
            stop_main_thread(number)
        elif number == signal.SIGINT and self.signal:
            _raise_in_main_thread(KeyboardInterrupt())
        else:
            self.signal = self.signal or signal.Signals(number).name


def _not_ignored():
    return tuple(number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN)


def _is_terminal(fd):
    try:
        return os.isatty(fd)
    except OSError:
        return False


def _silence(terminals):
    """Discard all further output to closed terminals."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        for fd in terminals:
            os.dup2(null, fd)
        os.close(null)
