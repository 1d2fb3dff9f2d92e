"""Workers of one machine notice that their launcher, or another worker, has ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from frcnn.distributed import lifeline

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import time
from frcnn.distributed import lifeline
lifeline.NOTICE_SECONDS = 0.1
lifeline.watch()
"""


def worker(code="time.sleep(60)"):
    """Return a process that follows a lifeline, and its writing end."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", CODE + code],
        env=os.environ | {lifeline.VARIABLE: str(reader)},
        pass_fds=[reader],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(reader)
    return process, writer


def test_it_ends_with_the_reason():
    process, writer = worker()
    os.write(writer, b"worker 1 was ended by SIGKILL")
    os.close(writer)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == lifeline.EXIT_STATUS
    assert errors == "error: worker 1 was ended by SIGKILL; this worker ends as well\n"


def test_it_ends_when_the_launcher_dies():
    process, writer = worker()
    os.close(writer)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == lifeline.EXIT_STATUS
    assert errors == "error: the launcher of the workers has died; this worker ends as well\n"


def test_when_the_launcher_is_killed_no_worker_is_left():
    command = [sys.executable, "-c", CODE + "print('ready', flush=True); time.sleep(60)"]
    code = f"from frcnn.distributed import launcher; launcher.launch({command!r}, 2)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_without_a_launcher_there_is_nothing_to_follow():
    assert not lifeline.is_worker({})
    lifeline.watch({})
