"""The run directory: its lock, its config files, and cutting its logs back to a checkpoint."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from frcnn.config import in_weights, precedence, text_format
from frcnn.config.old_names import FORMER_DEFAULTS
from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError, RunError
from frcnn.files import file_lock, outputs, safe_write
from frcnn.logging import event_files
from frcnn.runs import checkpoints, metrics_csv, nonfinite_log

CONFIG = "config.json"  # the settings that were asked for
RESOLVED = "resolved.json"  # every value that the run uses
CONFIGS = (CONFIG, RESOLVED)
# Settings that a resumed run may change, because they do not change the weights. data.dir and
# data.format are among them: each checkpoint has a fingerprint of the images and boxes, and these must
# be the same.
WITHOUT_EFFECT = (
    "data.dir",
    "data.format",
    "data.loader_threads",
    "data.prefetch",
    "data.cache_mib",
    "train.log_every",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.keep",
    "log.every",
    "log.pictures",
    "log.train_pictures",
    "log.picture_side",
    "log.trackers",
    "log.profile_steps",
)
NONFINITE = "nonfinite.jsonl"
METRICS = "metrics.csv"
WEIGHTS = ("last.weights.h5", "best.weights.h5", "ema.weights.h5")
LOGS = ("train", "validation")
# Everything that a run writes or replaces. Other files, such as a batch system's log, stay as they are.
WRITTEN = (
    *CONFIGS,
    METRICS,
    NONFINITE,
    "skipped.csv",
    "clipped.csv",
    "split.csv",
    *WEIGHTS,
    *LOGS,
    "checkpoints",
)
LOCK = ".lock"

_locks: dict[pathlib.Path, file_lock.FileLock] = {}  # {run directory: lock that this process holds}


def default_run_dir(data: object, config: Config) -> str:
    """Return the default run directory, ``runs/NAME-BACKBONE-TIME``.

    Args:
        data: the folder of the data: NAME is its name. For anything but a path, NAME is the setting
            ``data.dataset``.
        config: the settings of the run.
    """
    name: str = config.data.dataset
    if isinstance(data, (str, os.PathLike)):
        name = pathlib.Path(data).resolve().name
    return f"runs/{name}-{config.model.backbone}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


@contextlib.contextmanager
def writing(run_dir: pathlib.Path) -> Iterator[None]:
    """Turn errors of writing (disk full, no permission) in this context into a one-line ``RunError``.

    Raises:
        RunError: such an error; or another process has taken over the lock.
    """
    if run_dir in _locks and _locks[run_dir].is_lost:
        raise RunError(
            f"another process has taken over {run_dir}, because this process did not renew its lock in "
            "time: nothing more is written"
        )
    with outputs.writing(f"to the run directory {run_dir}", RunError):
        yield


@contextlib.contextmanager
def lock(run_dir: pathlib.Path) -> Iterator[None]:
    """Create the run directory, and lock it within this context.

    The lock of a process that was killed does not count (``frcnn.files.file_lock``).

    Raises:
        RunError: another process has the lock, or the directory cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with writing(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            refuse_links(run_dir)
            try:
                lock = stack.enter_context(file_lock.FileLock(run_dir / LOCK))
            except file_lock.Held as held:
                raise RunError(f"{held.holder} is already training in {run_dir}{held.hint}") from None
        _locks[run_dir] = lock
        stack.callback(_locks.pop, run_dir)
        yield


def refuse_links(run_dir: pathlib.Path) -> None:
    """Check that no file or folder that a run writes to is a symbolic link.

    The run would overwrite the target of the link. The run directory itself may be a link.

    Raises:
        RunError: one of them is a link.
    """
    # The lock consists of three files (``frcnn.files.file_lock``). A file NAME is first written as
    # part-NAME. Processes other than the main one log to workers/.
    files = [*WRITTEN] + [f"{LOCK}{end}" for end in ("", "-owner", "-lease")]
    names = [*files, *(f"part-{name}" for name in files), "workers"]
    paths = [os.path.join(run_dir, name) for name in names]
    for folder in (*LOGS, "checkpoints", "workers"):
        for parent, folders, inside in os.walk(run_dir / folder):  # does not follow links
            paths += [os.path.join(parent, name) for name in folders + inside]
    for path in paths:
        if os.path.islink(path):
            raise RunError(
                f"{path} is a symbolic link to {os.readlink(path)}: a run does not write to links. "
                "Replace it by the file or folder, or give another --out; the run directory itself may "
                "be a link"
            )


def restore_hint(run_dir: pathlib.Path, names: Sequence[str]) -> str:
    """Return a hint with a command that restores lost or damaged config files of a run.

    The copies are in the newest checkpoint, or in the weight files.

    Args:
        run_dir: the run directory.
        names: names of the config files.
    """
    for path in reversed(checkpoints.list_checkpoints(run_dir / "checkpoints")):
        copies = [path / name for name in names]
        if all(copy.is_file() for copy in copies):
            return f"restore it with `{shlex.join(map(str, ['cp', *copies, run_dir]))}`"
    for path in (run_dir / name for name in WEIGHTS):
        if in_weights.read(path):
            command = f"from frcnn.config import in_weights as c; print(c.read('{path}'))"
            return f'restore it with `python -c "{command}" > {run_dir / CONFIG}`'
    return "restore it from a copy"


@contextlib.contextmanager
def reading(run_dir: pathlib.Path) -> Iterator[None]:
    """Turn errors of reading a run directory in this context into a one-line ``RunError``.

    It is not an error if the directory does not exist.

    Raises:
        RunError: the directory cannot be read.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            run_dir.stat()
        yield
    except OSError as error:
        raise RunError(f"cannot read the run directory {run_dir}: {error.strerror or error}") from error


def read_config(run_dir: pathlib.Path) -> Config | None:
    """Read all settings of the run in a directory, from ``resolved.json``; None if there is no run.

    Runs of earlier versions have only ``config.json``.

    Raises:
        ConfigError: the content of the file is not a config.
        RunError: the file cannot be read.
    """
    for name in (RESOLVED, CONFIG):
        text = _config_text(run_dir, name)
        if text is not None:
            with _restorable(run_dir, name):
                # Settings that an earlier version did not have: the run behaved as with these values.
                known = Config().replace(FORMER_DEFAULTS)
                return known.updated_from_json(text, str(run_dir / name))
    return None


def read_asked(run_dir: pathlib.Path) -> dict[str, Any]:
    """Read the settings that were asked for in a run's ``config.json``; {} if there is no run.

    Raises:
        ConfigError, RunError: as ``read_config``.
    """
    if _config_text(run_dir, CONFIG) is None:
        return {}
    with _restorable(run_dir, CONFIG):
        return precedence.read_file(run_dir / CONFIG)


def _config_text(run_dir, name):
    with reading(run_dir):
        if not os.path.lexists(run_dir / name):
            return None
    return text_format.read_text(run_dir / name)


@contextlib.contextmanager
def _restorable(run_dir, name):
    """Add to the message of an error in a config file how to restore the file."""
    try:
        yield
    except ConfigError as error:
        if checkpoints.list_checkpoints(run_dir / "checkpoints"):
            raise ConfigError(
                f"{error}; if the file is damaged, {restore_hint(run_dir, [name])}"
            ) from error
        raise


def write_config(
    run_dir: pathlib.Path, asked: Mapping[str, Any], config: Config, keep_as: str | None = None
) -> None:
    """Write ``config.json`` and ``resolved.json``, each file atomically.

    Args:
        run_dir: the run directory.
        asked: {key: value} for ``config.json``, which ``--config`` can read.
        config: every value that the run uses, for ``resolved.json``.
        keep_as: suffix for copies of the files that are overwritten; None: no copies.
    """
    # resolved.json is written first, because it alone has all settings.
    for name, text in ((RESOLVED, config.to_json()), (CONFIG, text_format.to_json(asked))):
        path = run_dir / name
        if keep_as and path.is_file():
            safe_write.replace(path.with_stem(f"{path.stem}-{keep_as}"), path.read_bytes())
        safe_write.replace(path, text.encode("utf-8"))


def config_texts(run_dir: pathlib.Path) -> dict[str, str]:
    """Return {file name: text} of a run's config files, for the copies in each checkpoint."""
    paths = [run_dir / name for name in CONFIGS]
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def differences(before: Config, after: Config) -> tuple[list[str], list[str]]:
    """Compare the settings of a run before and after an interruption.

    Returns:
        Two lists with one line per changed setting: those that can change the weights, and those that
        cannot (``WITHOUT_EFFECT``).
    """
    changes: list[str] = []
    harmless: list[str] = []
    for key in KEYS:
        if (old := before.get(key)) != (new := after.get(key)):
            (harmless if key in WITHOUT_EFFECT else changes).append(f"{key}: {old} -> {new}")
    return changes, harmless


def rewind(run_dir: pathlib.Path, step: int, finished_step: int) -> list[str]:
    """Remove from the logs what was written after a checkpoint, because the resumed run writes it again.

    A damaged file is first copied; the copy has ``.damaged`` in its name.

    Args:
        run_dir: the run directory.
        step: number of training steps at the checkpoint.
        finished_step: number of training steps at the end of the last epoch whose validation was
            finished.

    Returns:
        A message for each damaged file.
    """
    messages = event_files.rewind(run_dir / "train", step)
    messages += event_files.rewind(run_dir / "validation", finished_step)
    messages += metrics_csv.drop_after(run_dir / METRICS, finished_step)
    return messages + nonfinite_log.drop_after(run_dir / NONFINITE, step)


def set_aside_logs(run_dir: pathlib.Path) -> list[str]:
    """Rename the logs of a run that was killed before its first checkpoint.

    Returns:
        A message for each folder or file.
    """
    messages = []
    for folder in (run_dir / name for name in LOGS):
        if names := event_files.set_aside(folder):
            messages.append(
                f"{folder} was written before the first checkpoint: kept as {', '.join(names)}"
            )
    path = run_dir / NONFINITE
    if path.exists():
        aside = path.rename(safe_write.free_name(path, "earlier"))
        messages.append(f"{path} was written before the first checkpoint: kept as {aside.name}")
    return messages
