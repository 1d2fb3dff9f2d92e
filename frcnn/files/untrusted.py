"""Files and texts that a stranger made: opened, read and shown within bounds.

A data set, a weight file or a config may come from anywhere. What is opened must be a regular file,
since a named pipe or a device may never end; what is read has a limit of size; what is shown has no
control characters, which a terminal would obey, and a limit of length.
"""

import io
import os
import pathlib
import stat

# Bytes of one file.
MAX_IMAGE_BYTES = 2**28
MAX_TEXT_BYTES = 2**26  # a split, a config
MAX_ANNOTATION_BYTES = 2**24
DEFLATE_LIMIT = 1032  # times: more than this the compression of zip, PNG and HDF5 cannot gain


def read_bytes(path, limit):
    """Return the content of a regular file.

    Args:
        path: of the file, or of a link to it.
        limit: bytes that it may have.

    Raises:
        OSError: it cannot be opened, is no regular file (``strerror`` says what it is) or is larger.
    """
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:  # it grew meanwhile, or is one of /proc, which declare no size
        raise _refusal(path, f"has more than {limit:,} bytes")
    return content


def read_text(path, limit=MAX_TEXT_BYTES, errors="replace"):
    """Return the text of a regular file in UTF-8, without its byte order mark. Raises as above."""
    content = read_bytes(path, limit)
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors=errors).read()


def open_regular(path, limit=None):
    """Open a regular file for reading, as bytes. Raises as ``read_bytes``."""
    # Without O_NONBLOCK, opening a named pipe waits for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _refusal(path, f"is {kind_of(status.st_mode)}, not a file")
        if limit is not None and status.st_size > limit:
            raise _refusal(path, f"has {status.st_size:,} bytes; the limit is {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def fault_of(path):
    """Return why a path cannot be read as a file, None if it can."""
    try:
        open_regular(path).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def kind_of(mode):
    """Return what ``st_mode`` says a path is, in words."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _refusal(path, why):
    return OSError(None, why, str(pathlib.Path(path)))
