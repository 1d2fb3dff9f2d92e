"""Write CSV files with one object per row: ``SPLIT.csv`` with a header, and ``classes.csv``.

An image without objects has a row with its name and size alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from frcnn.data.converted import Converted, crowd_of, rounded

STORES = frozenset({"difficult", "crowd", "empty", "classes"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")
HEADER = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax", "difficult", "crowd")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"images/{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    for split, images in data.splits.items():
        rows: list[tuple] = [HEADER]
        for file, sample in images:
            start = (image_file(split, file), sample.width, sample.height)
            crowd = crowd_of(sample)
            for row, box in enumerate(rounded(sample.boxes)):
                name = data.classes[sample.labels[row]]
                flags = (int(sample.difficult[row]), int(crowd[row]))
                rows.append((*start, name, *(f"{value:.12g}" for value in box), *flags))
            if not len(sample.boxes):
                rows.append((*start, *[""] * (len(HEADER) - len(start))))
        yield f"{split}.csv", table(rows)
    yield "classes.csv", table((name, number) for number, name in enumerate(data.classes))


def table(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; text is quoted, so that no sign in it looks like the delimiter."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()
