"""``metrics.csv``: one row an epoch, to compare runs without TensorBoard."""

import csv
import os
import pathlib

from frcnn.errors import FrcnnError


def append_row(path, row):
    """Append a row; the first one, in a new or empty file, brings the header.

    An existing file is continued, so a resumed training goes on where it stopped. The row is on
    disk when this returns.

    Args:
        path: the file; its folder must exist.
        row: column -> value, the same columns every time, in any order. Floats are written so that
            they read back as they were; None is an empty field.

    Raises:
        FrcnnError: the file has other columns.
    """
    path = pathlib.Path(path)
    existing = path.read_text(encoding="utf-8") if path.exists() else ""
    columns = next(csv.reader(existing.splitlines()), list(row))
    if set(columns) != set(row):
        missing, new = sorted(set(columns) - set(row)), sorted(set(row) - set(columns))
        raise FrcnnError(
            f"{path} has other columns than this run: the row lacks {missing} and brings {new}. "
            "Move the file away, or write to another run folder."
        )
    with path.open("a", encoding="utf-8", newline="") as file:
        if existing and not existing.endswith("\n"):
            file.write("\n")  # a run that was killed while it wrote: do not add to its half row
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if not existing:
            writer.writeheader()
        writer.writerow(row)


def drop_after(path, step):
    """Take out the rows of later steps, which a resumed run will write anew, and a half row.

    Args:
        path: the file; it may be missing.
        step: the last whose row stays, by the column ``step``.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    part = path.with_name(f"part-{path.name}")
    part.unlink(missing_ok=True)
    part.touch()
    for row in rows:
        if int(row["step"]) <= step:
            append_row(part, row)
    os.replace(part, path)
