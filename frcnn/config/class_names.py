"""Cleans the names of classes.

A class name becomes a TensorBoard tag, a column of ``metrics.csv`` and a label in a picture. So every
name that is read from an annotation or a setting is made one line: white space of any kind and length,
line ends included, becomes one space. Letters with accents get their composed form (Unicode NFC),
because names that look the same must be the same class. Other invisible characters are refused.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Sequence

from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

MAX_LENGTH = 200  # characters; csv.reader refuses fields of 131,072
# Control characters, formatting characters such as U+202E (right to left), halves of surrogate pairs.
UNSEEN = ("Cc", "Cf", "Cs")
# Two formatting characters that some scripts, and emoji, need.
JOINERS = "\u200c\u200d"


@functools.lru_cache(maxsize=4096)
def clean(name: str) -> str:
    """Return a class name in one line; "" if it has only white space.

    Raises:
        DataError: it is too long, or has an invisible character.
    """
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if len(name) > MAX_LENGTH:
        raise DataError(
            f"the class name {shown(name)!r} has {len(name)} characters; the limit is {MAX_LENGTH}"
        )
    for character in name:
        if unicodedata.category(character) in UNSEEN and character not in JOINERS:
            raise DataError(
                f"the class name '{shown(name)}' has the invisible character U+{ord(character):04X}: "
                "remove it"
            )
    return name


def clean_all(names: Iterable[str]) -> tuple[str, ...]:
    """Return all class names after ``clean``.

    Raises:
        DataError: a name is empty or refused by ``clean``, or two names are the same after it.
    """
    cleaned = tuple(clean(name) for name in names)
    for index, name in enumerate(cleaned):
        if not name:
            raise DataError(f"class {index + 1} of {len(cleaned)} has an empty name")
    if len(set(cleaned)) != len(cleaned):
        twice = next(name for index, name in enumerate(cleaned) if name in cleaned[:index])
        raise DataError(
            f"the class {twice!r} is named twice (names that differ only in white space are the same)"
        )
    return cleaned


def numbers_of(names: Sequence[str], classes: Sequence[str], key: str) -> tuple[int, ...]:
    """Return the label of each name: its index in ``classes``.

    Args:
        names: names of some classes.
        classes: names of all classes, in the order of the labels.
        key: key of the setting with ``names``, for messages.

    Raises:
        ConfigError: a name is not among the classes.
    """
    for name in names:
        if name not in classes:
            hint = did_you_mean(name, classes) or f"; the classes are {listed(classes)}"
            raise ConfigError(f"{key} names '{shown(name)}', which is not a class{hint}")
    return tuple(classes.index(name) for name in names)
