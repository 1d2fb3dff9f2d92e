"""Checks before a run is started or resumed, so that it does not overwrite anything."""

from __future__ import annotations

import os
import pathlib

from frcnn.errors import ConfigError, RunError
from frcnn.runs import checkpoints, metrics_csv, run_directory


def check(run_dir: pathlib.Path, resume: bool) -> None:
    """Check that a run can start or resume in a directory without overwriting other files.

    A run that was killed before its first checkpoint has a config and the logs of its first steps, but
    no weights and no finished epoch. When resumed, it starts again.

    Args:
        run_dir: the run directory; it may be missing.
        resume: whether to resume the run in it.

    Raises:
        ConfigError: there is a run in the directory, and ``resume`` is False.
        RunError: the directory has other files with the same names, or the run's config or checkpoints
            are missing.
    """
    with run_directory.reading(run_dir):
        has_config = any(os.path.lexists(run_dir / name) for name in run_directory.CONFIGS)
        lost = _lost_configs(run_dir)
        there = [name for name in run_directory.WRITTEN if _holds_something(run_dir / name)]
        saved = _names(run_dir / "checkpoints")
        saved = [name for name in saved if not name.startswith(("part-", "."))]
        is_whole = has_config and bool(checkpoints.list_checkpoints(run_dir / "checkpoints"))
        has_rows = metrics_csv.has_rows(run_dir / run_directory.METRICS)
    if has_config and not resume:
        raise ConfigError(
            f"{run_dir} already holds a run: resume it with --resume, or choose another directory "
            "with --out"
        )
    if lost and resume:
        hint = run_directory.restore_hint(run_dir, lost)
        raise RunError(f"{run_dir} has checkpoints, but no {' and no '.join(lost)}: {hint}")
    if not has_config and there:
        raise RunError(
            f"{run_dir} has no {run_directory.CONFIG}, so there is no run in it, but a run would "
            "overwrite "
            f"{', '.join(there)}. Choose an empty or new directory with --out, or move these away"
        )
    if not has_config or is_whole:
        return
    # The event files of validation do not count: a run writes some at its start, before any checkpoint.
    done = [name for name in run_directory.WEIGHTS if name in there]
    done += [run_directory.METRICS] if has_rows else []
    done += [f"checkpoints/{name}" for name in saved]
    if done:
        raise RunError(
            f"{run_dir} holds a run ({', '.join(done)}) without a checkpoint to resume from: restore "
            f"{run_dir / 'checkpoints'}; or start again in another directory with --out, from these "
            f"weights with --weights {run_dir / run_directory.WEIGHTS[0]}; or move {run_dir} away"
        )


def _lost_configs(run_dir):
    """Return the names of the missing config files of a run with checkpoints."""
    paths = checkpoints.list_checkpoints(run_dir / "checkpoints")
    missing = [name for name in run_directory.CONFIGS if not os.path.lexists(run_dir / name)]
    lost = [name for name in missing if any((path / name).is_file() for path in paths)]
    # Runs of earlier versions have no resolved.json, and no copies in their checkpoints.
    if paths and not lost and run_directory.CONFIGS == tuple(missing):
        lost = [run_directory.CONFIG]
    return lost


def _holds_something(path):
    """Return whether a path is a file, a link, or a folder with anything in it."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir() or bool(_names(path)))


def _names(folder):
    return sorted(os.listdir(folder)) if folder.is_dir() else []
