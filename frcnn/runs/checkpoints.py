"""Checkpoints: all that a run needs to go on as if it had never been interrupted.

A checkpoint is a folder: ``variables.npz`` (weights, optimizers, dropout), ``state.json`` (where the run
stands), the run's ``config.json``, and ``SHA256SUMS``, which ``sha256sum --check`` understands. It is
written under another name and then renamed, so a folder that bears a checkpoint's name was whole once;
the sums tell what has become of it since. At every moment at least one is there under its name, or under
the name with ``replaced-`` before it while another of the same step takes its place.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil

import numpy as np

from frcnn.errors import RunError
from frcnn.files import safe_arrays, safe_write

SUMS = "SHA256SUMS"
NEEDED = {"variables.npz", "state.json"}
_REPLACED = "replaced-"
# Not a copy by a file manager or a person, such as ``epoch-0001-step-00000007.bak``.
_NAME = re.compile(rf"(?P<replaced>{_REPLACED})?epoch-(?P<epoch>[0-9]+)-step-(?P<step>[0-9]+)")


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


def save(folder, epoch, step, arrays, state, keep, texts=None):
    """Write a checkpoint and delete the oldest beyond ``keep``.

    Args:
        folder: of all checkpoints of the run, ``pathlib.Path``; made if missing.
        epoch: epochs finished, their validation included.
        step: training steps done.
        arrays: {name: numpy array}.
        state: what JSON can hold.
        keep: how many checkpoints to keep, at least 1.
        texts: {file name: text} of further files that it is to hold.

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
    texts = {"state.json": json.dumps(state), **(texts or {})}
    try:
        with (part / "variables.npz").open("wb") as file:
            np.savez(file, **arrays)
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
        sums = "".join(f"{_sha256(part / name)}  {name}\n" for name in ("variables.npz", *texts))
        (part / SUMS).write_text(sums, encoding="utf-8")
        for file in (*part.iterdir(), part):
            safe_write.to_disk(file)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # a full disk needs the room
        raise
    replaced = path.with_name(f"{_REPLACED}{path.name}")
    if path.exists():
        if replaced.exists():
            _discard(replaced)
        path.rename(replaced)
    part.rename(path)
    safe_write.to_disk(folder)
    if replaced.exists():
        _discard(replaced)
    for old in list_checkpoints(folder)[:-keep]:
        _discard(old)
    return path


def list_checkpoints(folder):
    """Return the folders that bear a checkpoint's name, the oldest first."""
    named = {path: _NAME.fullmatch(path.name) for path in folder.glob("*epoch-*")}

    def place(path):
        name = named[path]
        return int(name["epoch"]), int(name["step"]), name["replaced"] is None

    return sorted((path for path in named if named[path] and path.is_dir()), key=place)


def find_fault(path):
    """Return what is wrong with a checkpoint's files, None if nothing is."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        sums = dict(reversed(line.split("  ", 1)) for line in lines)
        if not sums.keys() >= NEEDED:
            return f"{SUMS} is cut off"
        for name, expected in sums.items():
            if "/" in name or _sha256(path / name) != expected:
                return f"{name} has changed since it was written"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def read(path):
    """Return the ``Checkpoint`` in a folder whose ``find_fault`` is None."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return Checkpoint(path, state, safe_arrays.from_npz(path / "variables.npz"))


def read_newest(folder):
    """Return the newest ``Checkpoint`` that is whole, None where none was ever written, and the faults.

    The faults are {path: what is wrong} of the newer ones, which must not be used.

    Raises:
        RunError: there are checkpoints, and none is whole.
    """
    faults = {}
    for path in reversed(list_checkpoints(folder)):
        fault = find_fault(path)
        if fault is None:
            checkpoint = read(path)
            fault = _not_finite(checkpoint.arrays)
            if fault is None:
                return checkpoint, faults
        faults[path] = fault
    if faults:
        listed = "".join(f"\n  {path}: {fault}" for path, fault in faults.items())
        raise RunError(f"no checkpoint in {folder} is whole; to start afresh, move it away{listed}")
    return None, faults


def _not_finite(arrays):
    """Return a sentence on the arrays that hold NaN or infinity, None if none does."""
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return f"there is NaN or infinity in {names[0]}{more}" if names else None


def set_aside(path):
    """Rename a checkpoint that is not whole: no longer used or counted, but there to be looked at."""
    aside, number = path.with_name(f"corrupt-{path.name}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"corrupt-{number}-{path.name}")
    path.rename(aside)
    return aside


def _discard(path):
    # Renamed first, so that a process killed half way leaves no half checkpoint under the name.
    shutil.rmtree(path.rename(path.with_name(f"part-old-{path.name}")))


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
