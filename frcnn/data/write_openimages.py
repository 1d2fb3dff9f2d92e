"""Write OpenImages' CSV: ``SPLIT-annotations-bbox.csv`` with boxes as shares of the image, and
``class-descriptions.csv``. OpenImages lists no image without objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from frcnn.data.converted import Converted, crowd_of, stem
from frcnn.data.write_csv import table

STORES = frozenset({"crowd"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")
HEADER = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
DIGITS = 10  # after the point, as in YOLO's files


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    ids = [f"/m/class{number}" for number in range(len(data.classes))]
    for split, images in data.splits.items():
        rows: list[tuple] = [tuple(HEADER.split(","))]
        for file, sample in images:
            boxes = np.asarray(sample.boxes, "float64").reshape(-1, 4)
            shares = boxes / [sample.width, sample.height, sample.width, sample.height]
            crowd = crowd_of(sample)
            for row, box in enumerate(shares.tolist()):
                x1, y1, x2, y2 = (f"{value:.{DIGITS}f}" for value in box)
                start = (stem(file), "frcnn", ids[sample.labels[row]], 1)
                rows.append((*start, x1, x2, y1, y2, 0, 0, int(crowd[row])))
        yield f"{split}-annotations-bbox.csv", table(rows)
    yield "class-descriptions.csv", table(zip(ids, data.classes))
