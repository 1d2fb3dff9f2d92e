"""The types of settings, and how text or JSON becomes a value of these types.

A command line gives text: ``4``, ``1e-4``, ``true``, ``32,64,128``. JSON gives numbers, booleans and
lists. Both become the same value of the setting's type. A value that is not allowed raises
``ValueError``; ``frcnn.config.messages`` makes the message.
"""

from __future__ import annotations

import math
import os
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

WHOLE_LIMIT = 2**53  # above it, floats cannot represent all whole numbers
T = TypeVar("T")


def to_number(value: Any) -> float:
    """Return a number, or text of a number, as a finite float."""
    try:
        number = float(value)
    except (TypeError, OverflowError):
        raise ValueError from None
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def to_whole(value: Any) -> int:
    """Return a whole number, or text of one, as an int. ``1e3`` and ``4.0`` are whole numbers."""
    number = to_number(value)
    if number % 1 or abs(number) >= WHOLE_LIMIT:
        raise ValueError
    return int(number)


def to_switch(value: Any) -> bool:
    """Return a bool, or the text true or false in any case, as a bool."""
    switches = {"true": True, "false": False}
    name = str(value).strip().lower()
    if name not in switches:
        raise ValueError
    return switches[name]


def to_text(value: Any) -> str:
    """Return a text or path as text, without white space at its ends.

    NUL and halves of surrogate pairs are refused, because paths cannot have them.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    value.encode("utf-8")
    return value.strip()


def to_list(value: Any) -> list[Any]:
    """Return the items of a list, or of text with commas between items. Empty items are dropped."""
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
