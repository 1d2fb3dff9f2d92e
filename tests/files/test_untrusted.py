"""``untrusted``: regular files within bounds, and texts that a terminal shows and does not obey."""

import os

import pytest

from frcnn import text
from frcnn.files import untrusted


def test_a_shown_text_is_one_line_without_control_characters():
    assert text.shown("a\x1b[31mb\nc\x9bd\u2028e\u202ef\ud800") == (
        r"a\x1b[31mb\nc\x9bd\u2028e\u202ef\ud800"
    )
    assert text.shown("кот 猫 é\u3000") == "кот 猫 é\u3000"


def test_a_long_text_is_cut():
    assert text.shown("a" * 200) == "a" * 200
    assert text.shown("a" * 201) == "a" * 200 + "..."


def test_a_message_keeps_its_lines():
    assert text.printable("one\n\ttwo\x1b[2J") == "one\n\ttwo\\x1b[2J"


def test_a_value_that_would_fill_memory_as_text_is_shown_in_part():
    value = ["x"]
    for _ in range(60):
        value = [value, value]  # 2**60 texts, of one list each
    assert len(text.shown_value(value)) <= 203
    assert text.shown_value("\x1b" * 10**6).startswith(r"'\x1b")


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfabc")
    assert untrusted.read_bytes(path, 6) == b"\xef\xbb\xbfabc"
    assert untrusted.read_text(path) == "abc"
    with pytest.raises(OSError) as caught:
        untrusted.read_bytes(path, 5)
    assert caught.value.strerror == "has 6 bytes; the limit is 5"


def test_what_never_ends_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert untrusted.why_unreadable(tmp_path / "pipe") == "is a named pipe, not a file"
    assert untrusted.why_unreadable("/dev/zero") == "is a device, not a file"
    assert untrusted.why_unreadable(tmp_path) == "is a folder, not a file"
    assert untrusted.why_unreadable(tmp_path / "gone") == "No such file or directory"


def test_a_file_without_a_declared_size_is_still_limited():
    with pytest.raises(OSError, match="more than 3 bytes"):
        untrusted.read_bytes("/proc/self/status", 3)
