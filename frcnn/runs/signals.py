"""Signals that ask a run to stop: SIGTERM, SIGINT (Ctrl-C), SIGUSR1 and SIGHUP.

SIGTERM is how clusters and containers end a process, SIGUSR1 what Slurm can be told to send before a
time limit, SIGHUP what a process gets when its terminal or connection is gone. A run ends with status 0
after each of them: once its checkpoint is written, or at once if its first step is not done yet, because
there is nothing to save then. A signal that was ignored at the start (``nohup``) stays ignored.

``scripts/train.py`` calls ``listen`` in its first lines. The signals are then blocked in all threads and
one thread waits for them. Handlers alone would not do: Python runs them only between two instructions of
the main thread, which is deaf while TensorFlow connects to other workers; and TensorFlow then puts a
handler of its own in the place of ours.
"""

import contextlib
import os
import signal
import threading

from frcnn.errors import NothingToSave

# Windows has SIGINT and SIGTERM only.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP") if hasattr(signal, name)
)
# How long the main thread has to leave what it is doing before the first step. After that the process
# ends without it: it may be waiting in TensorFlow for a worker that never comes.
PATIENCE_SECONDS = 5.0
STATUS = 0
# Has the main thread look at what it is to raise: a signal that nobody else uses and that is ignored by
# default.
WAKE = getattr(signal, "SIGURG", None)


def stop_message(number):
    """Return what a run says that stops before its first step."""
    return (
        f"{signal.Signals(number).name}: stopped before the first step of this start; there is nothing "
        "new to save"
    )


def exit_now(number):
    """End the process with the status of a run that was asked to stop before its first step."""
    with contextlib.suppress(OSError, ValueError):  # a console that is gone
        print(stop_message(number), flush=True)
    os._exit(STATUS)


class _Listener:
    """The thread that waits for the signals.

    Attributes:
        react: what is called with the number of each, in that thread.
    """

    def __init__(self):
        self.numbers = _not_ignored()
        # A terminal that is gone makes every print an error, which would end a run before it saves.
        self.terminals = [fd for fd in (1, 2) if _is_terminal(fd)]
        self.react = exit_now
        signal.signal(WAKE, _raise)
        signal.pthread_sigmask(signal.SIG_BLOCK, self.numbers)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            number = signal.sigwait(self.numbers)
            if number == getattr(signal, "SIGHUP", None):
                _silence(self.terminals)
            self.react(number)


_listener = None


def listen():
    """Hear the signals from now on, whatever the main thread does; before the first step, end at once.

    To be called by a program's main thread, before it starts any other thread. Does nothing on a system
    that cannot block signals (Windows): there they are heard from ``StopSignals`` on.
    """
    global _listener
    if _listener is None and hasattr(signal, "pthread_sigmask") and hasattr(signal, "sigwait"):
        _listener = _Listener()


@contextlib.contextmanager
def handle_with(react):
    """Context in which ``react`` is called with the number of each signal that comes.

    It is called in the listening thread, or in the main thread where ``listen`` was not called. In
    another thread than the main one nothing changes: a run there is interrupted by whoever started it.
    """
    if _listener is not None:
        before, _listener.react = _listener.react, react
        try:
            yield
        finally:
            _listener.react = before
        return
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        terminals = [fd for fd in (1, 2) if _is_terminal(fd)]

        def handle(number, _):
            if number == getattr(signal, "SIGHUP", None):
                _silence(terminals)
            react(number)

        handlers = {number: signal.signal(number, handle) for number in _not_ignored()}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def stop_main_thread(number):
    """Have the main thread raise ``NothingToSave``, or end the process if it does not leave soon."""
    if _raised:  # it is leaving
        return
    if threading.current_thread() is not threading.main_thread():
        timer = threading.Timer(PATIENCE_SECONDS, exit_now, [number])
        timer.daemon = True
        timer.start()
    _in_main(NothingToSave(stop_message(number)))


_raised = []  # what the main thread has been asked to raise, the latest last


def _in_main(error):
    """Have the main thread raise an error as soon as it runs Python code."""
    _raised.append(error)
    if threading.current_thread() is threading.main_thread():
        raise error
    signal.pthread_kill(threading.main_thread().ident, WAKE)  # it may be waiting in a system call


def _raise(*_):
    raise _raised[-1]


class StopSignals:
    """Context of a training loop, in which these signals are noted instead of ending the process.

    Until ``can_save`` is set they raise ``NothingToSave`` in the main thread. A second Ctrl-C raises
    ``KeyboardInterrupt`` there.

    Attributes:
        signal: name of the first signal that came after ``can_save``, None before.
        can_save: to be set once the first step is done.
    """

    def __init__(self):
        self.signal = None
        self.can_save = False
        self._reacting = handle_with(self._note)

    def __enter__(self):
        self._reacting.__enter__()
        return self

    def __exit__(self, *error):
        return self._reacting.__exit__(*error)

    def _note(self, number):
        if not self.can_save:
            stop_main_thread(number)
        elif number == signal.SIGINT and self.signal:
            _in_main(KeyboardInterrupt())
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
    """Send what would be printed to terminals that are gone nowhere."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for fd in terminals:
            os.dup2(nowhere, fd)
        os.close(nowhere)
