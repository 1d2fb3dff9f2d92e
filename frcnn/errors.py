"""The errors a person can cause: each message names the file, key or box, and what to do.

The command lines print them as one line and exit with status 2; anything else that is raised is a
bug of ours and keeps its traceback.
"""

from frcnn.text import printable, shown


class FrcnnError(ValueError):
    """Base class: something outside the code (a setting, a file, a box) has to change."""


class ConfigError(FrcnnError):
    """A setting has an unknown name or an impossible value."""


class DataError(FrcnnError):
    """A data set, an image or an annotation cannot be used."""


class WorkerError(FrcnnError):
    """One of several processes that train together does not fit the others."""


class WeightsError(FrcnnError):
    """A weight file is missing or does not fit the model."""


class OutputError(FrcnnError):
    """A file or folder cannot be written where it was asked for, or would replace another one."""


class RunError(FrcnnError):
    """A run's folder cannot be written to, is in use or is damaged; or the training does not hold."""


class Interrupted(BaseException):
    """A signal asked the run to stop, and it did so with its checkpoint written: nobody's fault.

    Like ``KeyboardInterrupt`` it passes every ``except Exception``, as it may come anywhere.
    """


class NothingToSave(Interrupted):
    """The same before the first step."""


def message_of(error):
    """Return the line for an error that a person can mend, None for a bug of ours.

    Besides ``FrcnnError`` that is what the system refuses about a file that it names: a folder or a file
    without permission, a disk that fails, too long a name.
    """
    if isinstance(error, FrcnnError):
        return printable(str(error))
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        hint = " (see its permissions and those of the folders above)"
        denied = isinstance(error, PermissionError)
        return f"{shown(error.filename)}: {error.strerror}{hint if denied else ''}"
    return None
