"""Errors that a person can mend are one line and status 2; bugs keep their traceback."""

import os

import pytest

from frcnn.cli import quiet_import, run
from frcnn.errors import ConfigError, DataError, FrcnnError, WeightsError


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


def test_success_is_status_0(capsys):
    assert status(lambda: None) in (None, 0)
    assert capsys.readouterr() == ("", "")


def test_an_interrupt_is_status_130_without_a_traceback(capsys):
    def main():
        raise KeyboardInterrupt

    assert status(main) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    def main():
        raise ValueError("not meant for people")

    with pytest.raises(ValueError, match="not meant for people"):
        run(main)


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
