"""SHA-256 digests in exported files, which show damage before a file is run.

Runtimes notice at most damage in a file's structure, and may crash on it. A changed weight would only
give other boxes. A digest shows accidental damage only: who changes a file on purpose can also change
its digest.
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
