"""Errors that a user can correct: each message names the file, key or box, and what to do.

The command prints such an error as one line and exits with status 2. Any other exception is a bug and
keeps its traceback.
"""

from __future__ import annotations

from frcnn.text import printable, shown


class FrcnnError(ValueError):
    """Base class: a setting, a file or a box must change, not the code."""


class ConfigError(FrcnnError):
    """A setting has an unknown name or an impossible value."""


class DataError(FrcnnError):
    """A data set, an image or an annotation cannot be used."""


class WorkerError(FrcnnError):
    """One of several processes that train together differs from the others or has failed."""


class WeightsError(FrcnnError):
    """A weight file is missing or does not fit the model."""


class OutputError(FrcnnError):
    """A file or folder cannot be written where it was asked for, or would replace another file."""


class RunError(FrcnnError):
    """A run directory cannot be written to, is in use or is damaged; or the training diverges."""


class Interrupted(BaseException):
    """A signal stopped the run, and its checkpoint is written.

    It is no ``Exception``, like ``KeyboardInterrupt``, because it may be raised anywhere.
    """


class NothingToSave(Interrupted):
    """A signal stopped the run before its first step, so there is no checkpoint."""


def message_of(error: BaseException) -> str | None:
    """Return the message to print for an error that a user can correct, None for a bug.

    A user can correct ``FrcnnError``, and an error of the system about a file that it names: no
    permission, a failing disk, a name that is too long.
    """
    if isinstance(error, FrcnnError):
        return printable(str(error))
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        hint = " (see its permissions and those of the folders above)"
        denied = isinstance(error, PermissionError)
        return f"{shown(error.filename)}: {error.strerror}{hint if denied else ''}"
    return None
