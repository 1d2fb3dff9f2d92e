"""SHA-256 digests in exported files: a bit that has changed since is noticed before the file is run.

Runtimes notice damage in a file's structure at most, and may crash on it; a changed weight only gives
other boxes. A digest shows accidents, not forgery: who changes a file on purpose can write a new one.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable

from frcnn.errors import WeightsError


def of(content: bytes) -> str:
    """Return the digest as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def of_file(path: pathlib.Path) -> str:
    """Return the digest of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listed(folder: pathlib.Path, files: Iterable[pathlib.Path]) -> str:
    """Return a text for ``sha256sum --check``, with a line per file of a folder."""
    lines = (f"{of_file(file)}  {file.relative_to(folder).as_posix()}\n" for file in sorted(files))
    return "".join(lines)


def changed(path: pathlib.Path) -> WeightsError:
    """Return the error for a file or folder whose digest differs."""
    return WeightsError(f"{path} is damaged: it has changed since frcnn export wrote it")
