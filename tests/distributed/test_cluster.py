"""Several workers together: the same weights, scalars and scores as one, and a common end."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import damage

from frcnn.data import shapes
from frcnn.distributed import launcher
from frcnn.training import train

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train.py"
STEPS = 4


@pytest.fixture(scope="module")
def config(small_config, tmp_path_factory):
    """Return a config whose epoch of ten images ends with a smaller batch, and has one bad image."""
    root = tmp_path_factory.mktemp("cluster") / "shapes"
    shapes.make(root, {"train": 10, "val": 5}, seed=3)
    damage(root / "JPEGImages" / "train_000003.jpg")
    values = {
        "data.dir": str(root),
        "data.on_bad_data": "skip",
        "data.classes": ",".join(shapes.CLASSES),
        "optimizer.name": "sgd",
        "optimizer.learning_rate": 0.01,
        "optimizer.warmup_steps": 0,
        "optimizer.lr_scaling": "none",
        "optimizer.clip_norm": 1.0,
        "train.epochs": 2,
        "train.log_every": 1,
    }
    return small_config.replace(values)


def start(config, folder, workers, **options):
    """Start ``train.py`` with some workers of this machine and return the process."""
    folder.mkdir()
    (folder / "settings.json").write_text(config.to_json())
    command = [sys.executable, str(SCRIPT), "--config", str(folder / "settings.json")]
    command += ["--out", str(folder / "run"), "--workers-per-node", str(workers)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **options)


def weights(run):
    """Return {name: array} of what ``last.weights.h5`` holds."""
    found = {}
    with h5py.File(run / "last.weights.h5") as file:

        def take(name, item):
            if isinstance(item, h5py.Dataset):
                found[name] = np.asarray(item)

        file.visititems(take)
    return found


def rows(run):
    """Return the rows of ``metrics.csv`` without seconds, numbers as floats."""
    with (run / "metrics.csv").open() as file:
        return [
            {name: float(value or "nan") for name, value in row.items() if "seconds" not in name}
            for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize("schedule", [pytest.param("alternating", marks=pytest.mark.slow), "joint"])
def test_two_workers_do_what_one_does_with_their_images_together(config, schedule, tmp_path):
    config = config.replace({"train.schedule": schedule})
    process = start(config, tmp_path / "two", 2)
    one = config.replace({"data.batch_size": 2 * config.data.batch_size})
    train.train(one, tmp_path / "one")
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "2 workers, this is number 0" in said and "batch of 2 per worker" in said
    assert "4 images per step; learning rate 0.01 (optimizer.lr_scaling)" in said

    run = tmp_path / "two" / "run"
    expected = weights(tmp_path / "one")
    assert len(expected) > 10
    for name, array in weights(run).items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, expected[name], atol=1e-5, rtol=0, err_msg=name)
    for row, other in zip(rows(run), rows(tmp_path / "one"), strict=True):
        assert row == pytest.approx(other, abs=1e-4, nan_ok=True)
    # The bad image is in worker 1's share at least once; worker 0 records it, once.
    assert len((run / "skipped.csv").read_text().splitlines()) == 2
    assert sorted(path.name for path in (run / "workers").iterdir()) == ["1.log"]


@pytest.mark.slow
def test_when_a_worker_is_killed_the_other_one_stops_and_says_so(config, tmp_path):
    process = start(config.replace({"train.epochs": 500}), tmp_path / "two", 2)
    log = tmp_path / "two" / "run" / "metrics.csv"
    waited = time.monotonic()
    while not log.exists() and time.monotonic() - waited < 900 and process.poll() is None:
        time.sleep(0.2)
    assert log.exists()  # so that both are in the middle of training
    (victim,) = (pid for pid in children(process.pid) if rank_of(pid) == 1)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=300)
    assert time.monotonic() - killed < 60
    assert process.returncode == 1
    # By TensorFlow, whose connection to the other one broke, or by the lifeline: who comes first.
    assert "has died or cannot be reached" in errors or "SIGKILL; this worker ends as well" in errors
    assert "error: worker 1 was ended by SIGKILL; the others are stopped" in errors


@pytest.fixture
def taken():
    """Return a port that somebody else listens on, and one that nobody does."""
    with socket.create_server(("", 0)) as server:
        yield server.getsockname()[1], *launcher.free_ports(1)


@pytest.mark.slow
def test_workers_that_do_not_find_each_other_say_so_in_a_line(taken):
    """The first cannot listen on its port, so the second waits for it: not for ever."""
    addresses = [f"localhost:{port}" for port in taken]
    code = (
        "from frcnn.cli.common import run; from frcnn.distributed.process_group import join; run(join)"
    )
    command = [sys.executable, "-c", code]
    processes = []
    for rank in range(2):
        task = {"type": "worker", "index": rank}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        environment = os.environ | {"TF_CONFIG": config, "FRCNN_JOIN_SECONDS": "2"}
        pipes = {"stderr": subprocess.PIPE, "text": True, "cwd": SCRIPT.parents[1]}
        processes.append(subprocess.Popen(command, env=environment, **pipes))
    first, second = (process.communicate(timeout=300)[1].splitlines()[-1] for process in processes)
    assert [process.returncode for process in processes] == [2, 2]
    assert first.startswith(f"error: worker 0 of 2 cannot listen on port {taken[0]}")
    assert second.startswith("error: worker 1 of 2 has not found all others within 2 s")


def children(pid):
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid):
    environment = Path(f"/proc/{pid}/environ").read_text()
    return int(environment.split('"index": ')[1][0])
