"""Writing files so that a kill, a full disk or a symbolic link costs nothing that was there before.

A file that is replaced is written beside, brought to the disk and then renamed: its name always has the
old content or the new one. No function here writes through a symbolic link.
"""

import contextlib
import os
import shutil

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none, and hardly any links


def part_of(path):
    """Return the name under which ``replace`` writes a file until it is whole."""
    return path.with_name(f"part-{path.name}")


def replace(path, content):
    """Write a file at once and whole.

    Args:
        path: ``pathlib.Path``; a symbolic link there is replaced, not followed.
        content: bytes-like.

    Raises:
        OSError: it cannot be written; what was there before is untouched, and no part is left.
    """
    part = part_of(path)
    part.unlink(missing_ok=True)  # of a process that was killed here
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()  # a full disk needs the room
        raise
    to_disk(path.parent)


def open_to_append(path):
    """Open a text file to append to, made if missing.

    Raises:
        OSError: it cannot be opened, or it is a symbolic link.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NOFOLLOW, 0o666)
    return open(descriptor, "a", encoding="utf-8", errors="surrogateescape", newline="", buffering=1)


def free_name(path, ending):
    """Return the first of ``NAME.ending``, ``NAME.ending-2``, ... beside a file that is not taken."""
    free, number = path.with_name(f"{path.name}.{ending}"), 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{ending}-{number}")
    return free


def keep_copy(path, copy):
    """Keep a file as it is now under a second name, for ``replace`` to give the first a new content."""
    try:
        os.link(path, copy)
    except OSError:  # file systems without hard links
        shutil.copyfile(path, copy)


def to_disk(path):
    """Have the system write out what it still keeps in memory of a file or a folder's list of names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
