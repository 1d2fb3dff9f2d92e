"""Write files so that a kill, a full disk or a symbolic link cannot destroy the old content.

New content is written to a second file, flushed to the disk and then renamed. So the file always has the
old content or the new content. No function here writes through a symbolic link.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import TextIO

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows does not have it


def part_of(path: Path) -> Path:
    """Return the path to which ``replace`` writes a file until it is complete."""
    return path.with_name(f"part-{path.name}")


def replace(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically.

    Args:
        path: the file; a symbolic link there is replaced, not followed.
        content: bytes to write.

    Raises:
        OSError: the file cannot be written. Its old content is unchanged, and no incomplete file is
            left.
    """
    part = part_of(path)
    part.unlink(missing_ok=True)  # left by a process that was killed here
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()  # a full disk needs the space
        raise
    to_disk(path.parent)


def open_to_append(path: Path) -> TextIO:
    """Open a text file to append to; it is made if it does not exist.

    Raises:
        OSError: the file cannot be opened, or it is a symbolic link.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | NOFOLLOW, 0o666)
    return open(descriptor, "a", encoding="utf-8", errors="surrogateescape", newline="", buffering=1)


def free_name(path: Path, ending: str) -> Path:
    """Return the first path of ``NAME.ending``, ``NAME.ending-2``, ... that does not exist."""
    free, number = path.with_name(f"{path.name}.{ending}"), 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{ending}-{number}")
    return free


def keep_copy(path: Path, copy: Path) -> None:
    """Keep the content of a file under a second name, before ``replace`` changes the file."""
    try:
        os.link(path, copy)
    except OSError:  # file systems without hard links
        shutil.copyfile(path, copy)


def to_disk(path: Path) -> None:
    """Flush a file, or a folder's list of names, from the system's memory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
