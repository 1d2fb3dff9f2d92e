"""Errors that a person can mend are one line and status 2; bugs keep their traceback."""

import builtins
import errno
import io
import os
import pathlib
import subprocess
import sys

import pytest

from frcnn.cli.common import quiet_import, run
from frcnn.config import precedence
from frcnn.data import voc
from frcnn.errors import ConfigError, DataError, FrcnnError, WeightsError
from frcnn.runs import run_directory
from frcnn.weights import initial


def status(main):
    with pytest.raises(SystemExit) as caught:
        run(main)
    return caught.value.code


@pytest.mark.parametrize("kind", [ConfigError, DataError, WeightsError, FrcnnError])
def test_an_error_is_one_line_on_stderr_and_status_2(kind, capsys):
    def main():
        raise kind("there is no weight file a.h5")

    assert status(main) == 2
    assert capsys.readouterr() == ("", "error: there is no weight file a.h5\n")


def deny(monkeypatch, path):
    """Have the system refuse a path and all below it, as without permission; tests may run as root."""
    os_stat = os.stat

    def refusing(function):
        def refuse(given, *arguments, **options):
            if isinstance(given, (str, os.PathLike)):
                # What a path without permission is can be asked; what is below it cannot.
                is_it = pathlib.Path(given) == path and function is not os_stat
                if is_it or path in pathlib.Path(given).parents:
                    raise PermissionError(errno.EACCES, "Permission denied", str(given))
            return function(given, *arguments, **options)

        return refuse

    for module, name in [(os, "open"), (os, "stat"), (os, "listdir"), (io, "open"), (builtins, "open")]:
        monkeypatch.setattr(module, name, refusing(getattr(module, name)))


@pytest.mark.parametrize(
    "name", [".", "Annotations", "JPEGImages", "ImageSets", "ImageSets/Main", "ImageSets/Main/train.txt"]
)
def test_a_data_folder_without_permission_is_one_line(shapes_folder, name, monkeypatch, capsys):
    path = shapes_folder / name
    deny(monkeypatch, path)
    code = status(lambda: voc.read(shapes_folder, "train"))
    monkeypatch.undo()
    assert code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ") and str(path) in line and line.count("\n") == 1
    assert "Permission denied" in line


@pytest.mark.parametrize("folder", ["Annotations", "JPEGImages"])
def test_a_file_of_an_image_without_permission_is_a_fault(shapes_folder, folder, monkeypatch):
    path = sorted((shapes_folder / folder).glob("train_*"))[0]
    deny(monkeypatch, path)
    dataset, (fault,) = voc.collect(shapes_folder, "train")
    monkeypatch.undo()
    assert "cannot be read: Permission denied" in str(fault) and path.name in str(fault)
    assert len(dataset) == 7


@pytest.mark.parametrize("name", ["settings.json", "config.json", "run", "weights.h5"])
def test_settings_run_and_weights_without_permission_are_one_line(tmp_path, name, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    for file in ("settings.json", "run/config.json"):
        (tmp_path / file).write_text("{}")
    (tmp_path / "weights.h5").write_bytes(b"")

    def main():
        if name == "settings.json":
            precedence.read_file(path)
        elif name == "weights.h5":
            initial.read(path)
        else:
            run_directory.read_config(tmp_path / "run")

    path = tmp_path / ("run/config.json" if name == "config.json" else name)
    deny(monkeypatch, path)
    code = status(main)
    monkeypatch.undo()
    assert code == 2
    line = capsys.readouterr().err
    assert str(path) in line and "ermission denied" in line and line.count("\n") == 1


def test_what_the_system_refuses_about_a_file_is_one_line(capsys):
    def main():
        raise PermissionError(errno.EACCES, "Permission denied", "a/\x1b[2J")

    assert status(main) == 2
    said = "Permission denied (see its permissions and those of the folders above)"
    assert capsys.readouterr().err == f"error: a/\\x1b[2J: {said}\n"


def test_an_error_of_the_system_that_names_no_file_keeps_its_traceback():
    def main():
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file descriptor"):
        run(main)


def test_success_is_status_0(capsys):
    assert status(lambda: None) in (None, 0)
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_is_status_130_without_a_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    assert status(main) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_has_gone_ends_the_command_without_a_message(lines):
    """As in ``frcnn ... | head``: with output that fills the pipe, and with output left to the end."""
    code = f"from frcnn.cli.common import run\nrun(lambda: print('a line\\n' * {lines}))"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as stdout:
        ended = subprocess.run([sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_broken_pipe_that_is_not_the_output_s_keeps_its_traceback():
    def main():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(BrokenPipeError):
        run(main)


def test_a_bug_keeps_its_traceback():
    def main():
        raise ValueError("not meant for people")

    with pytest.raises(ValueError, match="not meant for people"):
        run(main)


def test_what_the_console_cannot_show_is_printed_as_its_escape(monkeypatch):
    """A class name, a path whose bytes are no UTF-8, and an error with both."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for encoding in ("ascii", "utf-8")]
    monkeypatch.setattr("sys.stdout", streams[0])
    monkeypatch.setattr("sys.stderr", streams[1])

    def main():
        print("\u732b")
        raise DataError("\u732b\udcff.jpg is empty")

    assert status(main) == 2
    for stream in streams:
        stream.flush()
    assert streams[0].buffer.getvalue() == b"\\u732b\n"
    assert streams[1].buffer.getvalue() == "error: \u732b\\udcff.jpg is empty\n".encode()


def test_chatter_of_libraries_is_kept_quiet_but_not_what_comes_after(capfd):
    with quiet_import():
        os.write(2, b"greetings\n")
    os.write(2, b"an error\n")
    assert capfd.readouterr().err == "an error\n"


def test_chatter_is_shown_if_the_import_fails(capfd):
    with pytest.raises(ImportError), quiet_import():
        os.write(2, b"no such library\n")
        raise ImportError
    assert capfd.readouterr().err == "no such library\n"
