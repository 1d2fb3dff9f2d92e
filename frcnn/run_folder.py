"""A run's folder: who may write to it, what was agreed on there, and taking it back to a checkpoint."""

import contextlib
import json
import os
import shutil
import socket

import filelock

from frcnn import event_files, metrics_csv
from frcnn.config import KEYS, Config
from frcnn.errors import RunError

CONFIG = "config.json"
NONFINITE = "nonfinite.jsonl"


@contextlib.contextmanager
def writing(run_dir):
    """Context in which the disk's faults become one line: full, not writable, gone."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise RunError(f"cannot write to the run folder {run_dir}: {reason}") from error


@contextlib.contextmanager
def claimed(run_dir):
    """Make the folder, and keep every other process from training in it within this context.

    The system frees the claim of a process that is killed.

    Raises:
        RunError: another process trains there, or the folder cannot be written to.
    """
    with writing(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
        lock, owner = filelock.FileLock(run_dir / ".lock"), run_dir / ".lock-owner"
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            with contextlib.suppress(OSError):
                raise RunError(f"{owner.read_text()} is training in {run_dir} at the moment") from None
            raise RunError(f"another process is training in {run_dir} at the moment") from None
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    try:
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def read_config(run_dir):
    """Return the ``Config`` that the run in a folder was started with, None where there is no run."""
    path = run_dir / CONFIG
    if not path.is_file():
        return None
    return Config().updated_from_json(path.read_text(encoding="utf-8", errors="replace"), str(path))


def write_config(run_dir, config, keep_as=None):
    """Write the config at once and whole; ``keep_as``: name for a copy of the one that was there."""
    path, part = run_dir / CONFIG, run_dir / f"part-{CONFIG}"
    if keep_as:
        shutil.copyfile(path, run_dir / keep_as)
    part.write_text(config.to_json(), encoding="utf-8")
    os.replace(part, path)


def differences(before, after):
    """Return a line for each setting in which two configs differ."""
    pairs = {key: (before.get(key), after.get(key)) for key in KEYS}
    return [f"{key}: {old} -> {new}" for key, (old, new) in pairs.items() if old != new]


def rewind(run_dir, step, finished_step):
    """Take out what a run wrote after the point from which it is going on, as it will write that anew.

    Args:
        run_dir: ``pathlib.Path``.
        step: training steps done at that point.
        finished_step: the step at which the last epoch ended that was validated by then.
    """
    event_files.rewind(run_dir / "train", step)
    event_files.rewind(run_dir / "validation", finished_step)
    metrics_csv.drop_after(run_dir / "metrics.csv", finished_step)
    path = run_dir / NONFINITE
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        part = path.with_name(f"part-{path.name}")
        part.write_text("".join(kept), encoding="utf-8")
        os.replace(part, path)


def record_nonfinite(run_dir, step, images, scalars):
    """Append a step that was left out to ``nonfinite.jsonl``: step, images, all scalars as text."""
    texts = {tag: str(value) for tag, value in scalars.items()}  # JSON has no word for infinity
    row = {"step": step, "images": images, "scalars": texts}
    with (run_dir / NONFINITE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
