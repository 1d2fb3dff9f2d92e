"""Text of messages: foreign text made safe, the nearest known name, shortened lists, bars of progress.

Foreign text comes from a file that somebody else made: a file name, a class name, a line of a split. A
terminal obeys its control characters. ``shown`` makes it safe within a message, and ``echo`` prints a
message that may hold it.
"""

from __future__ import annotations

import difflib
import reprlib
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any, TextIO

MAX_SHOWN = 200  # characters of one foreign text in a message
LINE_SECONDS = 30.0  # between two lines of progress in a file
NEAR = 0.7  # difflib's ratio from which on a name counts as a misspelling of another


def nearest(name: str, known: Iterable[str], cutoff: float = NEAR) -> str | None:
    """Return the name in ``known`` that ``name`` probably misspells, None if none is near."""
    by_folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name[:100].casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = NEAR) -> str:
    """Return ``", did you mean 'car'?"``, or an empty text if no known name is near."""
    near = nearest(name, known, cutoff)
    return f", did you mean {near!r}?" if near else ""


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names in one line: all of them, or the first three and the number of all.

    Args:
        names: foreign text is allowed; each name goes through ``shown``.
        most: more names than this are cut.

    Example:
        >>> listed("abcdefghij")
        'a, b, c, ... (10 in all)'
    """
    names = [shown(name) for name in names]
    if len(names) <= most:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:3])}, ... ({len(names)} in all)"


def shown(text: Any, most: int = MAX_SHOWN) -> str:
    """Return foreign text as one short line that is safe to print.

    Control characters (line ends too) and halves of surrogate pairs become escape sequences such as
    ``\\x1b``. Text longer than ``most`` characters is cut.

    Example:
        >>> shown("red\\x1b[31m")
        'red\\\\x1b[31m'
    """
    text = str(text)
    cut, rest = text[:most], "..." if len(text) > most else ""
    return "".join(map(_printable, cut)) + rest


def shown_value(value: Any) -> str:
    """Return any value that a foreign file held as one short line, however deep or long it is."""
    return shown(_REPR.repr(value))


def printable(text: str) -> str:
    """Return a message with its control characters escaped, except line ends and tabs."""
    return "".join(char if char in "\n\t" else _printable(char) for char in text)


def echo(message: Any, file: TextIO | None = None) -> None:
    """Print a message that may hold foreign text, above any progress bar.

    Args:
        message: one or more lines; control characters are escaped as in ``printable``.
        file: None stands for stdout.
    """
    from tqdm import tqdm  # here, to keep the start of the command short

    file = file or sys.stdout
    tqdm.write(printable(str(message)), file=file)
    file.flush()


def _printable(char: str) -> str:
    # Besides control characters: separators of lines and paragraphs, marks that change the direction of
    # writing, and what no encoding can express.
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode("ascii")


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_SHOWN
_REPR.maxlong = 40


def bar_options() -> dict[str, Any]:
    """Return options of ``tqdm``: on a terminal a bar that is redrawn, in a file a line every 30 s.

    A bar in a file would be one line of megabytes after a night.

    Example:
        >>> for batch in tqdm(batches, "evaluation", **bar_options()):
        ...     detect(batch)
    """
    if sys.stderr is None or sys.stderr.isatty():
        return {"mininterval": 1.0}
    return {"mininterval": LINE_SECONDS, "maxinterval": LINE_SECONDS, "file": _Lines(sys.stderr)}


class _Lines:
    """A file for ``tqdm`` that has a line for each state of the bar."""

    def __init__(self, file: TextIO):
        self._file = file

    def write(self, text: str) -> None:
        line = text.strip()
        if line:
            self._file.write(line + "\n")

    def flush(self) -> None:
        self._file.flush()
