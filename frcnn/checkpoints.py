"""Checkpoints: all that a run needs to go on as if it had never been interrupted.

A checkpoint is a folder: ``variables.npz`` (weights, optimizers, dropout), ``state.json`` (where the run
stands) and ``SHA256SUMS``, which ``sha256sum --check`` understands. It is written under another name and
then renamed, so a folder that bears a checkpoint's name was whole once; what has become of it since, the
sums tell.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np

from frcnn import stored_arrays
from frcnn.errors import RunError

SUMS = "SHA256SUMS"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One that was read.

    Attributes:
        path: its folder.
        state: dict, as ``save`` was given it.
        arrays: {name: numpy array}, likewise.
    """

    path: pathlib.Path
    state: dict
    arrays: dict


def save(folder, epoch, step, arrays, state, keep):
    """Write a checkpoint and delete the oldest beyond ``keep``.

    Args:
        folder: of all checkpoints of the run, ``pathlib.Path``; made if missing.
        epoch: epochs finished, their validation included.
        step: training steps done.
        arrays: {name: numpy array}.
        state: what JSON can hold.
        keep: how many checkpoints to keep, at least 1.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: it cannot be written; those before it are untouched.
    """
    path = folder / f"epoch-{epoch:04d}-step-{step:08d}"
    part = folder / f"part-{path.name}"
    for left in folder.glob("part-*"):  # of a process that was killed here
        shutil.rmtree(left)
    part.mkdir(parents=True)
    try:
        with (part / "variables.npz").open("wb") as file:
            np.savez(file, **arrays)
        (part / "state.json").write_text(json.dumps(state), encoding="utf-8")
        sums = "".join(f"{_sha256(part / name)}  {name}\n" for name in ("variables.npz", "state.json"))
        (part / SUMS).write_text(sums, encoding="utf-8")
        for file in part.iterdir():
            _to_disk(file)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
        raise
    if path.exists():
        _discard(path)
    part.rename(path)
    _to_disk(folder)
    for old in found(folder)[:-keep]:
        _discard(old)
    return path


def found(folder):
    """Return the folders that bear a checkpoint's name, the oldest first."""
    names = "epoch-[0-9]*-step-[0-9]*"
    return sorted(folder.glob(names), key=lambda path: [int(n) for n in path.name.split("-")[1::2]])


def fault_of(path):
    """Return what is wrong with a checkpoint's files, None if nothing is."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
        if sums.keys() != {"variables.npz", "state.json"}:
            return f"{SUMS} is cut off"
        for name, expected in sums.items():
            if _sha256(path / name) != expected:
                return f"{name} has changed since it was written"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def read(path):
    """Return the ``Checkpoint`` in a folder whose ``fault_of`` is None."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return Checkpoint(path, state, stored_arrays.from_npz(path / "variables.npz"))


def newest(folder):
    """Return the newest ``Checkpoint`` that is whole, None where none was ever written, and the faults.

    The faults are {path: what is wrong} of the newer ones, which must not be used.

    Raises:
        RunError: there are checkpoints, and none is whole.
    """
    faults = {}
    for path in reversed(found(folder)):
        fault = fault_of(path)
        if fault is None:
            return read(path), faults
        faults[path] = fault
    if faults:
        listed = "".join(f"\n  {path}: {fault}" for path, fault in faults.items())
        raise RunError(f"no checkpoint in {folder} is whole; to start afresh, move it away{listed}")
    return None, faults


def set_aside(path):
    """Rename a checkpoint that is not whole: no longer used or counted, but there to be looked at."""
    aside = path.with_name(f"corrupt-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    return aside


def _discard(path):
    # Renamed first, so that a process killed half way leaves no half checkpoint under the name.
    shutil.rmtree(path.rename(path.with_name(f"part-old-{path.name}")))


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path):
    """Have the system write out what it still keeps in memory of a file or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
