"""Write DOTA's text files: ``SPLIT/labelTxt/NAME.txt``, the images in ``SPLIT/images``.

A line is ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``, corners in pixels, to a thousandth of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from frcnn.data.converted import Converted, four_points_of, stem

STORES = frozenset({"difficult", "empty", "oriented", "four points"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"{split}/images/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    for split, images in data.splits.items():
        for file, sample in images:
            lines = []
            for row, points in enumerate(four_points_of(sample)):
                numbers = " ".join(f"{value:.12g}" for value in points)
                name = data.classes[sample.labels[row]]
                lines.append(f"{numbers} {name} {int(sample.difficult[row])}\n")
            yield f"{split}/labelTxt/{stem(file)}.txt", "".join(lines)
