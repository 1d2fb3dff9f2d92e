"""What the command lines share: a config from options, and errors that a person can mend in one line."""

import argparse
import contextlib
import io
import os
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

from frcnn.config import Config, precedence
from frcnn.config.text_format import parse_assignments
from frcnn.data.recognise import recognise
from frcnn.errors import ConfigError, message_of
from frcnn.text import echo


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Keep what is written to stderr within this context to itself, unless an exception leaves it.

    TensorFlow's libraries greet there before they look at any setting; an error that is one line
    should not have to be looked for among six others.
    """
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(shown, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call ``main()`` and end the process with its status.

    What ``errors.message_of`` knows becomes one line on stderr and exit status 2; an interrupt, 130.
    Where the reader of the output has gone, as in ``frcnn ... | head``, the process ends with status 141
    and without a message, as other commands do. Anything else is a bug and keeps its traceback. A
    character that the console does not know is printed as its escape, such as ``\\u732b``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main()
        sys.stdout.flush()  # here, and not at exit, where Python would print an error
    except Exception as error:
        if isinstance(error, BrokenPipeError) and hasattr(select, "poll") and _has_lost_reader():
            sys.exit(141)  # 128 + SIGPIPE
        message = message_of(error)
        if message is None:
            raise
        echo(f"error: {message}", sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _has_lost_reader() -> bool:
    """Tell whether nobody reads stdout or stderr any more; what is left to print there is dropped."""
    lost = False
    for descriptor in (1, 2):
        output = select.poll()
        output.register(descriptor, select.POLLOUT)
        if any(event & select.POLLERR for _, event in output.poll(0)):
            lost = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)  # Python flushes again at exit
    return lost


def settings_of(
    arguments: argparse.Namespace,
    options: Mapping[str, str],
    base: Config | None = None,
    base_name: str = "the run",
) -> precedence.Settings:
    """Return the ``Settings`` of a command line.

    Args:
        arguments: of argparse; it has ``config`` and ``set``.
        options: {name of an argument: the setting it changes}.
        base: ``Config`` of the run to go on with, None for a new one.
        base_name: what messages call that run.

    Raises:
        ConfigError: as ``frcnn.config.precedence.gather``.
    """
    values = {key: getattr(arguments, name) for name, key in options.items()}
    values = {key: value for key, value in values.items() if value is not None}
    return precedence.gather(values, parse_assignments(arguments.set), arguments.config, base, base_name)


def take_folder(
    arguments: argparse.Namespace,
    options: dict[str, str],
    train_split: str | None = None,
    val_split: str | None = None,
) -> list[str]:
    """Turn the argument FOLDER into the options that it stands for.

    Args:
        arguments: with ``data``, the folder or None, which are changed.
        options: {name of an argument: the setting it changes}.
        train_split, val_split: the splits that the command line names.

    Returns:
        Lines that say what the folder is.

    Raises:
        ConfigError: FOLDER and another option both name the data.
        DataError: the folder is of no known kind.
    """
    if arguments.data is None:
        return []
    for name in ("dataset", "data_dir"):
        if getattr(arguments, name) is not None:
            flag = name.replace("_", "-")
            raise ConfigError(f"{arguments.data} and --{flag} both name the data: give one of them")
    settings, text = recognise(arguments.data, train_split, val_split, arguments.format or "auto")
    for name, key in options.items():
        if key in settings:
            setattr(arguments, name, settings[key])
    return [text]
