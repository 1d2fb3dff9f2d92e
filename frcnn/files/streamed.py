"""A text file that is written piece by piece, and gets its name when it is complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from frcnn.files import outputs, safe_write


class StreamedText:
    """A UTF-8 text file that is written from beginning to end.

    Args:
        path: the file; an earlier one stays until ``close``.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path):
        self.path, self._part = path, safe_write.part_of(path)
        with outputs.writing(path):
            self._part.unlink(missing_ok=True)  # left by a process that was killed
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | safe_write.NOFOLLOW
            descriptor = os.open(self._part, flags, 0o666)
            self._file: IO[str] = open(
                descriptor, "w", encoding="utf-8", errors="surrogateescape", newline=""
            )

    def write(self, text: str) -> None:
        """Append to the file."""
        with outputs.writing(self.path):
            self._file.write(text)

    def close(self) -> None:
        """Complete the file and give it its name."""
        with outputs.writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self.path)
