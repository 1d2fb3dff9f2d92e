"""``metrics.csv``: one row per epoch, to compare runs without TensorBoard."""

from __future__ import annotations

import csv
import io
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from frcnn.files import safe_write


def append_row(path: pathlib.Path | str, row: Mapping[str, Any]) -> None:
    """Append a row. A new or empty file gets a header first.

    Columns that only the file has stay empty in the row. If the row has columns that the file does not
    have, the file is rewritten. The row is on disk when this function returns.

    Args:
        path: the file; its folder must exist.
        row: {column: value}, in any order. Floats are written without loss; None is an empty field.
    """
    path = pathlib.Path(path)
    text = _read(path)
    header, *rows = _fields(text) or [list(row)]
    new = [column for column in row if column not in header]
    if not text or new:
        width = len(header)
        filled = [[*fields, *[""] * (width - len(fields)), *[""] * len(new)] for fields in rows]
        text = _lines([header + new, *filled])
        safe_write.replace(path, _encode(text))
    with safe_write.open_to_append(path) as file:
        if not text.endswith("\n"):
            file.write("\n")  # ends the incomplete row of a run that was killed while it wrote
        file.write(_lines([[row.get(column, "") for column in header + new]]))
        file.flush()
        os.fsync(file.fileno())


def drop_after(path: pathlib.Path | str, step: int) -> list[str]:
    """Remove the rows of later steps, which a resumed run writes again, and an incomplete last row.

    If the step of a row cannot be read, the file is first copied to ``metrics.csv.damaged``.

    Args:
        path: the file; it may be missing.
        step: last step (column ``step``) whose row is kept.

    Returns:
        Messages: at most one line.
    """
    path = pathlib.Path(path)
    text = _read(path)
    if not text:
        return []
    if not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
    try:
        header, *rows = _fields(text) or [["step"]]
    except csv.Error:  # such as a quotation mark that is never closed
        header, rows = [], []
    steps = [_step(header, fields) for fields in rows]
    said = []
    if "step" not in header or None in steps:
        aside = safe_write.free_name(path, "damaged")
        safe_write.keep_copy(path, aside)
        what = f"{steps.count(None)} rows whose" if "step" in header else "no header whose"
        said.append(f"{path} has {what} column step can be read: kept as {aside.name}")
    kept = [fields for fields, done in zip(rows, steps) if done is not None and done <= step]
    content = _lines([header, *kept]) if "step" in header and text else ""
    safe_write.replace(path, _encode(content))
    return said


def has_rows(path: pathlib.Path | str) -> bool:
    """Return whether a file has more lines than the header."""
    return len(_read(pathlib.Path(path)).splitlines()) > 1


def read_numbers(path: pathlib.Path | str) -> list[dict[str, float | None]]:
    """Return each row as {column: number}; None for a field that is empty or not a finite number.

    A file that is missing or cannot be read has no rows. An incomplete last row is not returned.

    Args:
        path: the file.
    """
    text = _read(pathlib.Path(path))
    try:
        header, *rows = _fields(text[: text.rfind("\n") + 1]) or [[]]
    except csv.Error:
        return []
    return [{name: _number(field) for name, field in zip(header, fields)} for fields in rows]


def _number(field):
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _step(header, fields):
    try:
        return int(fields[header.index("step")])
    except (ValueError, IndexError):
        return None


def _read(path):
    # utf-8-sig: spreadsheets put a byte order mark before the header.
    try:
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _fields(text):
    return [fields for fields in csv.reader(io.StringIO(text)) if fields]


def _lines(rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _encode(text):
    return text.encode("utf-8", "surrogateescape")
