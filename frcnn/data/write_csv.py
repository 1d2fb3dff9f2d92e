"""Write CSV files with one object per row: ``SPLIT.csv`` with a header, and ``classes.csv``.

In a data set with oriented boxes the columns are x1, y1, ..., x4, y4 in place of xmin, ymin, xmax, ymax.
An image without objects has a row with its name and size alone.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from frcnn.data.converted import Converted, crowd_of, four_points_of, has_angles, rounded

STORES = frozenset({"difficult", "crowd", "empty", "classes", "oriented", "four points"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")
BOX = ("xmin", "ymin", "xmax", "ymax")
FOUR_POINTS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"images/{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    is_oriented = has_angles(data)
    numbers = FOUR_POINTS if is_oriented else BOX
    header = ("filename", "width", "height", "class", *numbers, "difficult", "crowd")
    for split, images in data.splits.items():
        rows: list[tuple] = [header]
        for file, sample in images:
            start = (image_file(split, file), sample.width, sample.height)
            crowd = crowd_of(sample)
            boxes = four_points_of(sample) if is_oriented else rounded(sample.boxes)
            for row, box in enumerate(boxes):
                name = data.classes[sample.labels[row]]
                flags = (int(sample.difficult[row]), int(crowd[row]))
                rows.append((*start, name, *(f"{value:.12g}" for value in box), *flags))
            if not len(sample.boxes):
                rows.append((*start, *[""] * (len(header) - len(start))))
        yield f"{split}.csv", table(rows)
    yield "classes.csv", table((name, number) for number, name in enumerate(data.classes))


def table(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV; text is quoted, so that no sign in it looks like the delimiter."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return text.getvalue()
