"""The connections over which workers notice each other's end, with threads in the place of machines."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each process tells the others rank 0's port through a file, as the real ones do through a sum.
WORKER = """
import os, sys, time
from types import SimpleNamespace
from frcnn import errors, watch
rank, count, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def agree(port):
    path = folder + "/port"
    if rank == 0:
        open(path + ".part", "w").write(str(port))
        os.rename(path + ".part", path)
    while not os.path.exists(path):
        time.sleep(0.01)
    return int(open(path).read())

watch.NOTICE_SECONDS = 0.1
place = SimpleNamespace(rank=rank, count=count, addresses=("localhost:1",) * count)
one = watch.Watch(place, agree)
open(f"{folder}/ready-{rank}", "w").close()
while len([name for name in os.listdir(folder) if name.startswith("ready")]) < count:
    time.sleep(0.01)
"""


@pytest.fixture
def run(tmp_path):
    """Return a function from what each of three workers does to (status, stderr) of each."""

    def run(code):
        command = [sys.executable, "-c", WORKER + textwrap.dedent(code)]
        processes = [
            subprocess.Popen(
                [*command, str(rank), "3", str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE, text=True
            )
            for rank in range(3)
        ]
        errors = [process.communicate(timeout=120)[1] for process in processes]
        return [(process.returncode, error) for process, error in zip(processes, errors)]

    return run


@pytest.mark.parametrize("victim", [0, 2])
def test_all_end_when_one_is_killed_and_name_it(run, victim):
    ended = run(f"os.kill(os.getpid(), 9) if rank == {victim} else time.sleep(100)")
    assert ended.pop(victim)[0] == -9
    for status, error in ended:
        assert status == 3
        assert f"error: worker {victim} on localhost:1 has died" in error


def test_all_say_what_stopped_one(run):
    code = """
        if rank == 1:
            one.close(errors.DataError("the image a.jpg is bad"))
            sys.exit(2)
        time.sleep(100)
    """
    ended = run(code)
    assert [status for status, _ in ended] == [3, 2, 3]
    for _, error in (ended[0], ended[2]):
        assert "error: worker 1 has stopped: DataError: the image a.jpg is bad; worker" in error


def test_a_common_end_is_no_death(run):
    code = """
        time.sleep(0.3 * rank)
        one.close()
        time.sleep(1.0)
    """
    assert [status for status, _ in run(code)] == [0, 0, 0]
