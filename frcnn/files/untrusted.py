"""Open and read untrusted files: only regular files, and only up to a limit of their size.

A data set, a weight file or a config may come from anywhere. Reading a named pipe or a device may never
end.
"""

from __future__ import annotations

import io
import os
import pathlib
import stat
from typing import BinaryIO

# Maximum bytes of one file.
MAX_IMAGE_BYTES = 2**28
MAX_TEXT_BYTES = 2**26  # a split, a config
MAX_ANNOTATION_BYTES = 2**24
DEFLATE_LIMIT = 1032  # largest ratio of deflate, the compression in zip, PNG and HDF5


def read_bytes(path: pathlib.Path | str, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file, or a link to it.
        limit: maximum size, bytes.

    Raises:
        OSError: the file cannot be opened, is not a regular file or is larger; ``strerror`` says which.
    """
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it has grown, or is in /proc, where files have a size of 0
        raise _refusal(path, f"has more than {limit:,} bytes")
    return content


def read_text(path: pathlib.Path | str, limit: int = MAX_TEXT_BYTES, errors: str = "replace") -> str:
    """Return the text of a regular UTF-8 file without its byte order mark. Raises as ``read_bytes``."""
    content = read_bytes(path, limit)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors=errors).read()


def open_regular(path: pathlib.Path | str, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading bytes. Raises as ``read_bytes``."""
    # Without O_NONBLOCK, opening a named pipe waits until another process writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(path, f"is {_kind_of(status.st_mode)}, not a file")
        if limit is not None and status.st_size > limit:
            raise _refusal(path, f"has {status.st_size:,} bytes; the limit is {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def why_unreadable(path: pathlib.Path | str) -> str | None:
    """Return the reason why a path cannot be read as a file; None if it can."""
    try:
        open_regular(path).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _kind_of(mode: int) -> str:
    """Return the kind of file of an ``st_mode``, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _refusal(path: pathlib.Path | str, why: str) -> OSError:
    return OSError(None, why, str(pathlib.Path(path)))
