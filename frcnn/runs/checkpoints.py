"""Checkpoints: everything that a run needs to resume bit for bit.

A checkpoint is a folder: ``variables.npz`` (weights, optimizers, dropout), ``state.json`` (the run
state), the run's config files, and ``SHA256SUMS``, which ``sha256sum --check`` reads. It is written
under a temporary name and then renamed, so a folder with the name of a checkpoint was complete when it
was written. The checksums detect later damage. While a checkpoint is replaced by one of the same step,
the old one has the prefix ``replaced-``, so that there is always a complete one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from frcnn.errors import RunError
from frcnn.files import safe_arrays, safe_write

SUMS = "SHA256SUMS"
REQUIRED = {"variables.npz", "state.json"}
_REPLACED = "replaced-"
# Full matches only: a user's copy such as ``epoch-0001-step-00000007.bak`` is not a checkpoint.
_NAME = re.compile(rf"(?P<replaced>{_REPLACED})?epoch-(?P<epoch>[0-9]+)-step-(?P<step>[0-9]+)")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Attributes:
        path: its folder.
        state: the ``state`` given to ``save``.
        arrays: the ``arrays`` given to ``save``.
    """

    path: pathlib.Path
    state: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save(
    folder: pathlib.Path,
    epoch: int,
    step: int,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    keep: int,
    texts: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Write a checkpoint and delete the oldest ones beyond ``keep``.

    Args:
        folder: folder of the run's checkpoints; created if missing.
        epoch: number of finished epochs, validation included.
        step: number of finished training steps.
        arrays: {name: array}.
        state: values that JSON can hold.
        keep: number of checkpoints to keep, at least 1.
        texts: {file name: text} of further files in the checkpoint.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: it cannot be written. Older checkpoints are untouched.
    """
    path = folder / f"epoch-{epoch:04d}-step-{step:08d}"
    part = folder / f"part-{path.name}"
    for leftover in folder.glob("part-*"):  # of a process that was killed while it wrote
        shutil.rmtree(leftover)
    part.mkdir(parents=True)
    texts = {"state.json": json.dumps(state), **(texts or {})}
    try:
        with (part / "variables.npz").open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy: one of them is allow_pickle
        for name, text in texts.items():
            (part / name).write_text(text, encoding="utf-8")
        sums = "".join(f"{_sha256(part / name)}  {name}\n" for name in ("variables.npz", *texts))
        (part / SUMS).write_text(sums, encoding="utf-8")
        for written in (*part.iterdir(), part):
            safe_write.to_disk(written)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)  # the disk may be full
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


def list_checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the folders with a checkpoint's name, the oldest first."""
    named = {path: _NAME.fullmatch(path.name) for path in folder.glob("*epoch-*")}

    def age(path):
        name = named[path]
        return int(name["epoch"]), int(name["step"]), name["replaced"] is None

    return sorted((path for path in named if named[path] and path.is_dir()), key=age)


def find_fault(path: pathlib.Path) -> str | None:
    """Compare a checkpoint's files with their checksums. Return the fault, or None."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        pairs = [line.split("  ", 1) for line in lines]
        sums = {name: checksum for checksum, name in pairs}
        if not sums.keys() >= REQUIRED:
            return f"{SUMS} is cut off"
        for name, expected in sums.items():
            if "/" in name or _sha256(path / name) != expected:
                return f"{name} has changed since it was written"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def read(path: pathlib.Path) -> Checkpoint:
    """Read a checkpoint whose ``find_fault`` is None."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return Checkpoint(path, state, safe_arrays.from_npz(path / "variables.npz"))


def read_newest(folder: pathlib.Path) -> tuple[Checkpoint | None, dict[pathlib.Path, str]]:
    """Read the newest checkpoint without a fault.

    Returns:
        The checkpoint; None if there are no checkpoints.
        {path: fault} of newer checkpoints that are damaged.

    Raises:
        RunError: all checkpoints are damaged.
    """
    faults: dict[pathlib.Path, str] = {}
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
        raise RunError(f"all checkpoints in {folder} are damaged; to start again, move it away{listed}")
    return None, faults


def _not_finite(arrays):
    """Return a message that names the arrays with NaN or infinity; None if all are finite."""
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return f"there is NaN or infinity in {names[0]}{more}" if names else None


def set_aside(path: pathlib.Path) -> pathlib.Path:
    """Rename a damaged checkpoint, so that it is kept but no longer used; return the new path."""
    aside, number = path.with_name(f"corrupt-{path.name}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"corrupt-{number}-{path.name}")
    path.rename(aside)
    return aside


def _discard(path):
    # Renamed first, so that a killed process cannot leave an incomplete checkpoint with this name.
    shutil.rmtree(path.rename(path.with_name(f"part-old-{path.name}")))


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
