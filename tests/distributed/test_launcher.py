"""Several workers on this machine: what each is told, and that none is left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from frcnn.distributed import launcher
from frcnn.errors import ConfigError


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def configs(changes):
    return [json.loads(change["TF_CONFIG"]) for change in changes]


def test_each_worker_has_a_port_and_a_share_of_the_cores():
    changes = launcher.worker_environments(2, {"CUDA_VISIBLE_DEVICES": ""})
    first, second = configs(changes)
    assert first["cluster"] == second["cluster"] and len(set(first["cluster"]["worker"])) == 2
    assert [config["task"]["index"] for config in (first, second)] == [0, 1]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert all(change["TF_NUM_INTRAOP_THREADS"] == str(threads) for change in changes)


def test_each_worker_has_a_gpu_of_its_own():
    changes = launcher.worker_environments(2, {"CUDA_VISIBLE_DEVICES": "4,5,7"})
    assert [change["CUDA_VISIBLE_DEVICES"] for change in changes] == ["4", "5"]
    with pytest.raises(ConfigError, match="4 workers need 4 GPUs, but there are 3"):
        launcher.worker_environments(4, {"CUDA_VISIBLE_DEVICES": "4,5,7"})


def test_on_several_machines_each_address_becomes_several():
    given = {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 1}}
    environment = {"TF_CONFIG": json.dumps(given), "CUDA_VISIBLE_DEVICES": "0,1"}
    found = configs(launcher.worker_environments(2, environment))
    assert [config["task"]["index"] for config in found] == [2, 3]
    for config in found:
        assert config["cluster"]["worker"] == ["a:2222", "a:2223", "b:2222", "b:2223"]


def test_a_chief_is_one_of_the_addresses():
    given = {
        "cluster": {"chief": ["a:2222"], "worker": ["b:2222"]},
        "task": {"type": "worker", "index": 0},
    }
    environment = {"TF_CONFIG": json.dumps(given), "CUDA_VISIBLE_DEVICES": "0,1"}
    found = configs(launcher.worker_environments(2, environment))
    assert [config["task"]["index"] for config in found] == [2, 3]
    assert found[0]["cluster"]["worker"] == ["a:2222", "a:2223", "b:2222", "b:2223"]


@pytest.mark.parametrize(
    "environment, match",
    [
        ({"TF_CONFIG": "no JSON"}, "TF_CONFIG does not have the form"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": [3]}, "task": {"type": "worker", "index": 0}}'},
            "host:2222",
        ),
        ({"SLURM_STEP_NUM_TASKS": "two"}, "SLURM_STEP_NUM_TASKS must be a whole number"),
    ],
)
def test_an_environment_that_does_not_fit_is_one_line(environment, match):
    with pytest.raises(ConfigError, match=match):
        launcher.worker_environments(2, environment | {"CUDA_VISIBLE_DEVICES": ""})


def test_it_says_which_systems_it_needs(monkeypatch):
    monkeypatch.setattr(launcher.os, "name", "nt")
    with pytest.raises(ConfigError, match="needs Linux or macOS"):
        launcher.worker_environments(2, {})


def test_slurm_starts_its_processes_itself():
    with pytest.raises(ConfigError, match="srun --ntasks-per-node"):
        launcher.worker_environments(2, {"SLURM_STEP_NUM_TASKS": "2"})


def command(code):
    """Return a command whose ``rank`` is that of the worker it runs as."""
    start = "import json, os, sys, time\nrank = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
    return [sys.executable, "-c", start + textwrap.dedent(code)]


def test_all_well():
    assert launcher.launch(command("assert os.environ['FRCNN_LIFELINE']"), 3) == 0


@pytest.mark.parametrize(
    "code, status, says",
    [
        ("sys.exit(5 if rank == 1 else 0)", 5, "worker 1 ended with status 5: see workers/1.log"),
        ("os.kill(os.getpid(), 9) if rank == 1 else None", 1, "worker 1 was ended by SIGKILL"),
        ("sys.exit(2 if rank == 0 else 0)", 2, ""),
    ],
)
def test_one_that_fails_is_named(code, status, says, capfd):
    assert launcher.launch(command(code), 2) == status
    assert says in capfd.readouterr().err


def test_when_one_fails_the_others_are_ended(monkeypatch):
    monkeypatch.setattr(launcher, "GRACE_SECONDS", 0.2)
    started = time.monotonic()
    assert launcher.launch(command("sys.exit(3) if rank else time.sleep(300)"), 2) == 3
    assert time.monotonic() - started < 60


def test_a_signal_goes_on_to_all():
    code = """
        import signal
        # In one write each, as both write to one pipe.
        signal.signal(signal.SIGUSR1, lambda *_: (os.write(1, b"got it\\n"), sys.exit(0)))
        os.write(1, b"ready\\n")
        time.sleep(300)
    """
    here = [
        sys.executable,
        "-c",
        f"from frcnn.distributed import launcher; launcher.launch({command(code)!r}, 2)",
    ]
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    process = subprocess.Popen(here, stdout=subprocess.PIPE, text=True, cwd=root)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
    process.send_signal(signal.SIGUSR1)
    assert process.communicate(timeout=60)[0].splitlines() == ["got it"] * 2
    assert process.returncode == 0
