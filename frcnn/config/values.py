"""Kinds of values that a setting may have, and how text or JSON becomes such a value.

A command line gives text: ``4``, ``1e-4``, ``true``, ``32,64,128``. JSON gives numbers, booleans and
lists. Both become the same value, of exactly the setting's type. What does not fit is a ``ValueError``;
``frcnn.config.messages`` says what is allowed.
"""

from __future__ import annotations

import math
import os
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

WHOLE_LIMIT = 2**53  # from there on, a float stands for several whole numbers
T = TypeVar("T")


def to_number(value: Any) -> float:
    """Return a finite float of a number or of its text."""
    try:
        number = float(value)
    except (TypeError, OverflowError):
        raise ValueError from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def to_whole(value: Any) -> int:
    """Return an int of a whole number or of its text; ``1e3`` and ``4.0`` are whole."""
    number = to_number(value)
    if number % 1 or abs(number) >= WHOLE_LIMIT:
        raise ValueError
    return int(number)


def to_switch(value: Any) -> bool:
    """Return the bool of true or false, or of its text in any case."""
    switches = {"true": True, "false": False}
    name = str(value).strip().lower()
    if name not in switches:
        raise ValueError
    return switches[name]


def to_text(value: Any) -> str:
    """Return the text of a text or path, without white space around it.

    No path may hold a NUL or half of a surrogate pair.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode("utf-8")
    return value.strip()


def to_list(value: Any) -> list[Any]:
    """Return the items of a list, or of text with commas between them. Empty items do not count."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError
    return [item for item in items if item != ""]


NUMBER = BeforeValidator(to_number)
WHOLE = BeforeValidator(to_whole)
Number = Annotated[float, NUMBER]
Whole = Annotated[int, WHOLE]
Switch = Annotated[bool, BeforeValidator(to_switch)]
Text = Annotated[str, BeforeValidator(to_text)]
List = Annotated[tuple[T, ...], BeforeValidator(to_list)]
