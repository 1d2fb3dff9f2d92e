"""Signals: heard whatever the main thread does, from the first line of train.py on."""

import os
import pty
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from frcnn.errors import NothingToSave
from frcnn.runs import signals as signals_module

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")


def start(code, **options):
    """Start Python code in a process, wait for its first line, and return the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def ending(process, *signals):
    """Send signals and return (status, what it printed, its errors)."""
    for number in signals:
        process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    return process.returncode, said, errors


# What TensorFlow does: a handler of its own in C, and a main thread that runs no Python code.
DEAF = """
    import ctypes, signal
    from frcnn.runs import signals
    signals.listen()
    system = ctypes.CDLL(None)
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: None)
    for number in signals.SIGNALS:
        system.signal(int(number), handler)
    signals.PATIENCE_SECONDS = 0.2
    mutex = ctypes.create_string_buffer(64)
    system.pthread_mutex_lock(mutex)
    with signals.handle_with({react}):
        try:
            print("ready", flush=True)
            system.pthread_mutex_lock(mutex)  # for ever
        except BaseException as stop:  # the signal came before that
            print(stop)
"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("react", ["signals.exit_now", "signals.stop_main_thread"])
def test_a_main_thread_that_is_deaf_ends_with_status_0_and_says_so(name, react):
    process = start(DEAF.format(react=react))
    status, said, errors = ending(process, getattr(signal, name))
    assert (status, errors) == (0, "")
    expected = "stopped before the first step of this start; there is nothing new to save"
    assert said == f"{name}: {expected}\n"


def test_a_signal_that_was_ignored_stays_ignored():
    code = """
        import signal, time
        from frcnn.runs import signals
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        signals.listen()
        print("ready", flush=True)
        time.sleep(0.5)
        print("still here", flush=True)
        time.sleep(60)
    """
    process = start(code)
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "still here\n"
    assert ending(process, signal.SIGTERM)[0] == 0


def test_the_main_thread_leaves_by_an_exception():
    code = """
        import time
        from frcnn import errors
        from frcnn.runs import signals
        signals.listen()
        try:
            with signals.handle_with(signals.stop_main_thread):
                print("ready", flush=True)
                while True:
                    try:
                        time.sleep(0.01)
                    except Exception as error:  # as readers of damaged files have it
                        print("swallowed", error)
        except errors.NothingToSave as stop:
            print("put away:", stop)
    """
    status, said, errors = ending(start(code), signal.SIGTERM)
    assert (status, errors) == (0, "")
    assert said.startswith("put away: SIGTERM: stopped before the first step")


TRAINING = """
    import time
    from frcnn.runs import signals
    {listen}
    try:
        with signals.StopSignals() as asked:
            asked.can_save = True
            print("ready", flush=True)
            while not asked.signal:
                time.sleep(0.01)
            print(asked.signal, flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        print("at once")
"""


@pytest.mark.parametrize("listen", ["", "signals.listen()"])
def test_in_training_a_signal_is_noted_and_a_second_ctrl_c_ends_it(listen):
    process = start(TRAINING.format(listen=listen))
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "SIGINT\n"
    assert ending(process, signal.SIGINT)[:2] == (0, "at once\n")


@pytest.mark.parametrize("name", NAMES)
def test_without_a_listener_it_is_noted_by_handlers_that_are_put_back(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with signals_module.StopSignals() as asked:
        with pytest.raises(NothingToSave, match=f"{name}: stopped before the first step"):
            signal.raise_signal(number)
        signals_module._raised.clear()
        asked.can_save = True
        signal.raise_signal(number)
        assert asked.signal == name
    assert signal.getsignal(number) == before


def test_a_terminal_that_is_gone_does_not_keep_a_run_from_saving(tmp_path):
    code = """
        import sys, time
        from frcnn.runs import signals
        signals.listen()
        with signals.StopSignals() as asked:
            asked.can_save = True
            print("ready", flush=True)
            while not asked.signal:
                time.sleep(0.01)
            print("nobody sees this", flush=True)
            open(sys.argv[1], "w").write(asked.signal)
    """
    saved = tmp_path / "saved"
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", textwrap.dedent(code), str(saved)])
    said = b""
    while not said.endswith(b"\n"):  # the system may hand it over in pieces
        said += os.read(terminal, 1)
    os.close(terminal)  # which sends SIGHUP
    assert os.waitpid(pid, 0)[1] == 0
    assert saved.read_text() == "SIGHUP"


@pytest.fixture
def slow_import(tmp_path):
    """Return an environment in which ``import keras`` says so and never ends."""
    (tmp_path / "keras.py").write_text(
        # In one piece: several workers write to one pipe.
        "import ctypes, os\nos.write(1, b'ready\\n')\nwhile True: ctypes.CDLL(None).pause()\n"
    )
    return os.environ | {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("name", NAMES)
def test_train_hears_a_signal_while_it_imports(slow_import, tmp_path, name, workers):
    command = [sys.executable, "scripts/train.py", "--dataset", "shapes", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [*command, "--workers-per-node", workers],
        env=slow_import | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(max(1, int(workers))):
        assert process.stdout.readline() == "ready\n"
    status, said, errors = ending(process, getattr(signal, name))
    assert (status, errors) == (0, "")
    assert said.count(f"{name}: stopped before the first step of this start") == max(1, int(workers))


def test_the_command_lines_work_where_there_are_fewer_signals(tmp_path):
    """As on Windows, which has no SIGHUP, SIGUSR1 or masks."""
    code = """
        import os, runpy, signal, sys
        for name in ("SIGHUP", "SIGUSR1", "SIGKILL", "pthread_sigmask", "sigwait"):
            delattr(signal, name)
        del os.sched_getaffinity
        sys.argv = ["train.py", "--help"]
        print("ready", flush=True)
        runpy.run_path("scripts/train.py", run_name="__main__")
    """
    status, said, errors = ending(start(code))
    assert (status, errors) == (0, "")
    assert "--workers-per-node" in said
