"""A run's folder: who may write to it, what was agreed on there, and taking it back to a checkpoint."""

import contextlib
import json
import os
import shutil
import socket

import filelock

from frcnn import config_text, event_files, metrics_csv, settings
from frcnn.config import KEYS, Config
from frcnn.errors import RunError

CONFIG = "config.json"  # what was asked
RESOLVED = "resolved.json"  # every value that the run uses
# Settings without effect on what is learnt. Of the images in data.dir, checkpoints hold a fingerprint.
WITHOUT_EFFECT = (
    "data.dir",
    "data.workers",
    "data.prefetch",
    "data.cache_mib",
    "train.log_every",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.keep",
)
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
    """Return the ``Config`` with which the run in a folder trains, None where there is no run.

    Runs of earlier versions wrote it into ``config.json``.
    """
    for path in (run_dir / RESOLVED, run_dir / CONFIG):
        if path.is_file():
            return Config().updated_from_json(config_text.read_text(path), str(path))
    return None


def read_asked(run_dir):
    """Return {key: value} of what the run in a folder was asked to do, {} where there is no run."""
    path = run_dir / CONFIG
    return settings.read_file(path) if path.is_file() else {}


def write_config(run_dir, asked, config, keep_as=None):
    """Write what was asked and what was made of it, each file at once and whole.

    Args:
        run_dir: ``pathlib.Path``.
        asked: {key: value} for ``config.json``, which ``--config`` is to read.
        config: ``Config`` for ``resolved.json``: every value that the run uses.
        keep_as: what the name of a copy of those that were there ends in, None without.
    """
    # The first one alone tells of the run in full.
    for name, text in ((RESOLVED, config.to_json()), (CONFIG, config_text.to_json(asked))):
        path, part = run_dir / name, run_dir / f"part-{name}"
        if keep_as and path.is_file():
            shutil.copyfile(path, path.with_stem(f"{path.stem}-{keep_as}"))
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)


def differences(before, after):
    """Compare the configs of a run before and after an interruption.

    Returns:
        Two lists with a line for each setting in which they differ: of those that may change what the
        run's weights will be, and of those that cannot (``WITHOUT_EFFECT``).
    """
    found = [], []
    for key in KEYS:
        if (old := before.get(key)) != (new := after.get(key)):
            found[key in WITHOUT_EFFECT].append(f"{key}: {old} -> {new}")
    return found


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
