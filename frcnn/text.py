"""Text of messages: foreign text made safe to show, the nearest known name, and shortened lists."""

import difflib
import reprlib
import unicodedata

MAX_SHOWN = 200  # characters of one foreign text in a message
NEAR = 0.7  # difflib's ratio, from which on two names are taken for one with a typing error


def nearest(name, known, cutoff=NEAR):
    """Return the one of ``known`` that ``name`` was probably meant to be, None where none is near."""
    by_folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name[:100].casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[near[0]] if near else None


def did_you_mean(name, known, cutoff=NEAR):
    """Return ``", did you mean 'car'?"``, or an empty text where no known name is near."""
    near = nearest(name, known, cutoff)
    return f", did you mean {near!r}?" if near else ""


def listed(names, most=8):
    """Return names in one line: all, or of more than ``most`` the first three and how many there are."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:3])}, ... ({len(names)} in all)"


def shown(text, most=MAX_SHOWN):
    """Return a foreign text as one short line that a terminal shows and does not obey.

    Control characters, line ends among them, and halves of surrogate pairs become escape sequences
    such as ``\\x1b``; what is longer than ``most`` characters is cut.

    Example:
        >>> shown("red\\x1b[31m")
        'red\\\\x1b[31m'
    """
    text = str(text)
    cut, rest = text[:most], "..." if len(text) > most else ""
    return "".join(map(_printable, cut)) + rest


def shown_value(value):
    """Return any value that a foreign file held as one short line, however deep or long it is."""
    return shown(_REPR.repr(value))


def printable(text):
    """Return a message of several lines without control characters but line ends and tabs."""
    return "".join(char if char in "\n\t" else _printable(char) for char in text)


def _printable(char):
    # Besides controls: separators of lines and paragraphs, marks that turn the direction of writing
    # around, and what no encoding can express.
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode("ascii")


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_SHOWN
_REPR.maxlong = 40


def few(names):
    """Return the first five names as text."""
    names = list(names)
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"
