"""Names of classes as text of one line.

A class name becomes a TensorBoard tag, a column of ``metrics.csv`` and a label in a picture. So it is
made one line where it is read, from an annotation or a setting: white space of any kind and length, line
ends included, becomes one blank, and letters with accents get their composed form (Unicode NFC), because
names that look the same must be the same class. Other characters that nobody can see are refused.
"""

import functools
import unicodedata
from collections.abc import Sequence

from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

MAX_LENGTH = 200  # characters; csv.reader gives up on fields of 131,072
# Control characters, formatting ones such as U+202E (right to left), and halves of surrogate pairs.
UNSEEN = ("Cc", "Cf", "Cs")
# Two formatting characters that some scripts, and emoji, are spelt with.
JOINERS = "\u200c\u200d"


@functools.lru_cache(maxsize=4096)
def clean(name):
    """Return a class name in one line, empty where it holds nothing but white space.

    Raises:
        DataError: it is too long, or holds a character that cannot be seen.
    """
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if len(name) > MAX_LENGTH:
        raise DataError(
            f"the class name {shown(name)!r} has {len(name)} characters; the limit is {MAX_LENGTH}"
        )
    for character in name:
        if unicodedata.category(character) in UNSEEN and character not in JOINERS:
            raise DataError(
                f"the class name '{shown(name)}' holds U+{ord(character):04X}, a character that cannot "
                "be seen: take it out"
            )
    return name


def clean_all(names):
    """Return class names, each in one line, as a tuple.

    Raises:
        DataError: a name is empty or refused by ``clean``, or two are the same once they are clean.
    """
    cleaned = tuple(clean(name) for name in names)
    for index, name in enumerate(cleaned):
        if not name:
            raise DataError(f"class {index + 1} of {len(cleaned)} has no name")
    if len(set(cleaned)) != len(cleaned):
        twice = next(name for index, name in enumerate(cleaned) if name in cleaned[:index])
        raise DataError(f"the class {twice!r} is named twice (names that differ in white space are one)")
    return cleaned


def numbers_of(names: Sequence[str], classes: Sequence[str], key: str) -> tuple[int, ...]:
    """Return the label of each name: its place in ``classes``.

    Args:
        names: some of the classes' names.
        classes: all of them, in the order of the labels.
        key: the setting that holds ``names``, for the message.

    Raises:
        ConfigError: a name is not among the classes.
    """
    for name in names:
        if name not in classes:
            hint = did_you_mean(name, classes) or f"; the classes are {listed(classes)}"
            raise ConfigError(f"{key} names '{shown(name)}', which is not a class{hint}")
    return tuple(classes.index(name) for name in names)
