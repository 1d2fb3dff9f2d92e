"""A run's folder: who may write to it, what was agreed on there, and taking it back to a checkpoint."""

import contextlib
import os
import shlex

from frcnn.config import in_weights, precedence, text_format
from frcnn.config.old_names import FORMER_DEFAULTS
from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError, RunError
from frcnn.files import file_lock, outputs, safe_write
from frcnn.logging import event_files
from frcnn.runs import checkpoints, metrics_csv, nonfinite_log

CONFIG = "config.json"  # what was asked
RESOLVED = "resolved.json"  # every value that the run uses
CONFIGS = (CONFIG, RESOLVED)
# Settings without effect on what is learnt. Of the images in data.dir, checkpoints hold a fingerprint.
WITHOUT_EFFECT = (
    "data.dir",
    "data.loader_threads",
    "data.prefetch",
    "data.cache_mib",
    "train.log_every",
    "checkpoint.every_steps",
    "checkpoint.every_minutes",
    "checkpoint.keep",
)
NONFINITE = "nonfinite.jsonl"
METRICS = "metrics.csv"
WEIGHTS = ("last.weights.h5", "best.weights.h5")
LOGS = ("train", "validation")
# What a run writes over. It leaves alone whatever else lies there, such as a batch system's log.
WRITTEN = (*CONFIGS, METRICS, NONFINITE, "skipped.csv", *WEIGHTS, *LOGS, "checkpoints")
LOCK = ".lock"

_locks = {}  # {run folder: the ``FileLock`` by which this process holds it}


@contextlib.contextmanager
def writing(run_dir):
    """Context in which the disk's faults become one line: full, not writable, gone."""
    if run_dir in _locks and _locks[run_dir].is_lost:
        raise RunError(
            f"another process has taken over {run_dir}, as this one gave no sign of life for a while: "
            "nothing more is written"
        )
    with outputs.writing(f"to the run folder {run_dir}", RunError):
        yield


@contextlib.contextmanager
def lock(run_dir):
    """Make the folder, and keep every other process from training in it within this context.

    The claim of a process that is killed ends with it (``frcnn.files.file_lock``).

    Raises:
        RunError: another process trains there, or the folder cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        with writing(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            refuse_links(run_dir)
            try:
                lock = stack.enter_context(file_lock.FileLock(run_dir / LOCK))
            except file_lock.Held as held:
                raise RunError(
                    f"{held.holder} is training in {run_dir} at the moment{held.hint}"
                ) from None
        _locks[run_dir] = lock
        stack.callback(_locks.pop, run_dir)
        yield


def refuse_links(run_dir):
    """Check that nothing that a run writes to is a symbolic link.

    The run would write over what it leads to. The folder itself may be one.

    Raises:
        RunError: with the link's name.
    """
    files = [*WRITTEN] + [f"{LOCK}{end}" for end in ("", "-owner", "-lease")]
    paths = [run_dir / name for name in [*files, *(f"part-{name}" for name in files), "workers"]]
    for folder in (*LOGS, "checkpoints", "workers"):
        for parent, folders, names in os.walk(run_dir / folder):  # which does not follow links
            paths += [os.path.join(parent, name) for name in folders + names]
    for path in paths:
        if os.path.islink(path):
            raise RunError(
                f"{path} is a symbolic link to {os.readlink(path)}: a run writes to no link. Put the "
                "file or folder itself there, or give another --out; the run folder itself may be a link"
            )


def restore_hint(run_dir, names):
    """Return how a person can put back files of a run's config."""
    for path in reversed(checkpoints.list_checkpoints(run_dir / "checkpoints")):
        copies = [path / name for name in names]
        if all(copy.is_file() for copy in copies):
            return f"put it back with `{shlex.join(map(str, ['cp', *copies, run_dir]))}`"
    for path in (run_dir / name for name in WEIGHTS):
        if in_weights.read(path):
            command = f"from frcnn.config import in_weights as c; print(c.read('{path}'))"
            return f'put it back with `python -c "{command}" > {run_dir / CONFIG}`'
    return "put it back from a copy"


@contextlib.contextmanager
def reading(run_dir):
    """Context in which a folder that cannot be looked into, other than a missing one, is one line."""
    try:
        with contextlib.suppress(FileNotFoundError):
            run_dir.stat()
        yield
    except OSError as error:
        raise RunError(f"cannot read the run folder {run_dir}: {error.strerror or error}") from error


def read_config(run_dir):
    """Return the ``Config`` with which the run in a folder trains, None where there is no run.

    Runs of earlier versions wrote it into ``config.json``.

    Raises:
        ConfigError: the file does not hold one.
        RunError: it cannot be read.
    """
    for name in (RESOLVED, CONFIG):
        text = _config_text(run_dir, name)
        if text is not None:
            with _restorable(run_dir, name):
                known = Config().replace(FORMER_DEFAULTS)
                return known.updated_from_json(text, str(run_dir / name))
    return None


def read_asked(run_dir):
    """Return {key: value} of what the run in a folder was asked to do, {} where there is no run.

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
    """Context in which an error in a config says how to put it back, where that is possible."""
    try:
        yield
    except ConfigError as error:
        if checkpoints.list_checkpoints(run_dir / "checkpoints"):
            raise ConfigError(f"{error}; if it is damaged, {restore_hint(run_dir, [name])}") from error
        raise


def write_config(run_dir, asked, config, keep_as=None):
    """Write what was asked and what was made of it, each file at once and whole.

    Args:
        run_dir: ``pathlib.Path``.
        asked: {key: value} for ``config.json``, which ``--config`` is to read.
        config: ``Config`` for ``resolved.json``: every value that the run uses.
        keep_as: what the name of a copy of those that were there ends in, None without.
    """
    # The first one alone tells of the run in full.
    for name, text in ((RESOLVED, config.to_json()), (CONFIG, text_format.to_json(asked))):
        path = run_dir / name
        if keep_as and path.is_file():
            safe_write.replace(path.with_stem(f"{path.stem}-{keep_as}"), path.read_bytes())
        safe_write.replace(path, text.encode("utf-8"))


def config_texts(run_dir):
    """Return {file name: text} of what tells a run's settings, for its checkpoints to hold, too."""
    paths = [run_dir / name for name in CONFIGS]
    return {path.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}


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

    What is damaged is kept beside, under a name with ``.damaged``.

    Args:
        run_dir: ``pathlib.Path``.
        step: training steps done at that point.
        finished_step: the step at which the last epoch ended that was validated by then.

    Returns:
        A line for each damaged file.
    """
    said = event_files.rewind(run_dir / "train", step)
    said += event_files.rewind(run_dir / "validation", finished_step)
    said += metrics_csv.drop_after(run_dir / METRICS, finished_step)
    return said + nonfinite_log.drop_after(run_dir / NONFINITE, step)


def set_aside_logs(run_dir):
    """Rename what a run logged that starts afresh, as it was killed before its first checkpoint.

    Returns:
        A line for each folder or file.
    """
    said = []
    for folder in (run_dir / name for name in LOGS):
        if names := event_files.set_aside(folder):
            said.append(f"{folder} is of a start without a checkpoint: kept as {', '.join(names)}")
    path = run_dir / NONFINITE
    if path.exists():
        aside = path.rename(safe_write.free_name(path, "earlier"))
        said.append(f"{path} is of a start without a checkpoint: kept as {aside.name}")
    return said
