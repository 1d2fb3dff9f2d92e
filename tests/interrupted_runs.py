"""Compares a run that is killed several times with one that is not.

``python interrupted_runs.py KILLS SCHEDULE WORKERS`` trains on ``shapes`` and kills the run at random
times, every fourth time while a checkpoint is being written. It reports whether both runs end with the
same bits. With several workers the launcher is killed, which ends its workers.
"""

import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import filelock
import h5py
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What tells of the process, not of the training; the config's text has the settings of checkpoints.
OF_THE_PROCESS = ("time/", "traces", "config")


def start(run, options, log):
    """Start ``train.py`` on a run directory as a process; its output goes to the end of a file."""
    script = [sys.executable, str(ROOT / "scripts" / "train.py")]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*script, "--out", str(run), "--resume", *options], stdout=output, stderr=subprocess.STDOUT
        )


def stop(process, number, is_time, limit=120.0):
    """Send a signal as soon as ``is_time()``; return the exit status, negative if killed by it."""
    started = time.monotonic()
    while process.poll() is None and not is_time() and time.monotonic() - started < limit:
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait()


def after(seconds):
    """Return a function that says whether so much time has passed since now."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def is_writing(run):
    """Return a function that says whether a checkpoint is being written, other than one begun by now."""
    now = time.time()

    def is_new(path):
        try:
            return path.stat().st_ctime > now
        except FileNotFoundError:  # it has its name meanwhile
            return False

    return lambda: any(map(is_new, (run / "checkpoints").glob("part-*")))


def events(folder):
    """Return {tag: [(step, value), ...]} of a TensorBoard run, pictures too, in the order of files."""
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, make_ndarray(event.tensor_proto).tolist()) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
        if not tag.startswith(OF_THE_PROCESS)
    }


def weights(path):
    """Return {name: array} of an HDF5 weight file."""
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return arrays


def last_variables(run):
    """Return {name: array} of a run's newest checkpoint."""
    newest = max((run / "checkpoints").iterdir(), key=lambda path: path.name)
    return dict(np.load(newest / "variables.npz"))


def rows(run):
    """Return the lines of ``metrics.csv`` without the column of seconds."""
    lines = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    column = lines[0].index("train_seconds")
    return [line[:column] + line[column + 1 :] for line in lines]


def assert_alike(run, other):
    """Check that two runs have the same bits in weights, optimizers, events and ``metrics.csv``."""
    for read in (
        last_variables,
        lambda folder: weights(folder / "last.weights.h5"),
        lambda folder: weights(folder / "best.weights.h5"),
    ):
        one, two = read(run), read(other)
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for name in ("train", "validation"):
        one, two = events(run / name), events(other / name)
        assert one.keys() == two.keys()
        for tag in one:
            np.testing.assert_equal(one[tag], two[tag], err_msg=f"{name} {tag}")
    assert rows(run) == rows(other)


def wait_until_free(run, limit=60.0):
    """Return when no process holds a run any longer; workers end seconds after their launcher."""
    end = time.monotonic() + limit
    lock = filelock.FileLock(run / ".lock")
    while run.exists() and time.monotonic() < end:
        try:
            with lock.acquire(timeout=0):
                return
        except filelock.Timeout:
            time.sleep(0.2)


def main(kills, schedule, workers):
    options = ["--dataset", "shapes", "--schedule", schedule, "--epochs", "12"]
    options += ["--set", "train.steps_per_epoch=40"]
    options += ["--set", "data.short_side=96", "--set", "data.long_side=128"]
    options += ["--set", "checkpoint.every_steps=7", "--set", "model.head_dropout=0.5"]
    options += ["--deterministic"]
    options += ["--workers-per-node", str(workers)] if workers > 1 else []
    folder = pathlib.Path(tempfile.mkdtemp())
    print(folder)
    whole, torn, log = folder / "whole", folder / "torn", folder / "log"
    started = time.monotonic()
    assert start(whole, options, log).wait() == 0
    seconds = time.monotonic() - started
    draw = random.Random(0)
    for kill in range(kills):
        # Early enough that the run does not come to its end before all kills.
        moment = is_writing(torn) if kill % 4 == 3 else after(draw.uniform(0.0, seconds / 5))
        status = stop(start(torn, options, log), signal.SIGKILL, moment)
        wait_until_free(torn)
        done = sorted(path.name for path in (torn / "checkpoints").glob("*")) if torn.exists() else []
        print(f"kill {kill + 1}: status {status}, left {', '.join(done) or 'nothing'}", flush=True)
        if status == 0:
            break  # it came to its end before
    assert start(torn, options, log).wait() == 0
    assert_alike(whole, torn)
    print("alike")


if __name__ == "__main__":
    given = sys.argv[1:]
    defaults = ["20", "alternating", "1"]
    kills, schedule, workers = [*given, *defaults[len(given) :]]
    main(int(kills), schedule, int(workers))
