"""Shared by the subcommands: a config from options, and one-line messages for errors of the user."""

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
    """Hide what is written to stderr within this context, unless it ends with an exception.

    On import, TensorFlow's libraries print notices there that no setting switches off. They would bury
    an error message of one line.
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

    The status is that of ``main``; or 2 for an error that ``errors.message_of`` knows, which is printed
    to stderr as one line; 130 for an interrupt; and 141, without a message, if the reader of the output
    has ended, as in ``frcnn ... | head``. Any other exception is a bug and keeps its traceback. A
    character that the console cannot print is printed as its escape, such as ``\\u732b``.
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
    """Return whether the reader of stdout or stderr has ended, and drop further output to it."""
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
        arguments: the parsed command line, with ``config`` and ``set``.
        options: {name of an argument: the setting it changes}.
        base: ``Config`` of the run that is resumed; None for a new run.
        base_name: what messages call that run.

    Raises:
        ConfigError: in the cases of ``frcnn.config.precedence.gather``.
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
        arguments: the parsed command line, which is changed. Its ``data`` is FOLDER or None.
        options: {name of an argument: the setting it changes}.
        train_split, val_split: the splits that the command line names.

    Returns:
        Lines that describe the folder; none without FOLDER.

    Raises:
        ConfigError: FOLDER and another option both name the data.
        DataError: the folder's format cannot be recognised.
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
