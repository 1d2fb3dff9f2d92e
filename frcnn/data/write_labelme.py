"""Write LabelMe's JSON: one file beside each image, in a folder for each split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from frcnn.data.converted import Converted, crowd_of, outlines_of, rounded, stem

STORES = frozenset({"difficult", "crowd", "empty", "polygon"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    for split, images in data.splits.items():
        for file, sample in images:
            crowd, outlines = crowd_of(sample), outlines_of(sample)
            shapes = [
                {
                    "label": data.classes[sample.labels[row]],
                    "points": [[x1, y1], [x2, y2]] if outline is None else outline.rings[0].tolist(),
                    "group_id": None,
                    "shape_type": "rectangle" if outline is None else "polygon",
                    "flags": {
                        name: True
                        for name, is_set in (
                            ("difficult", bool(sample.difficult[row])),
                            ("crowd", crowd[row]),
                        )
                        if is_set
                    },
                }
                for row, ((x1, y1, x2, y2), outline) in enumerate(zip(rounded(sample.boxes), outlines))
            ]
            content: dict[str, Any] = {
                "version": "5.0.0",
                "flags": {},
                "shapes": shapes,
                "imagePath": file,
                "imageData": None,
                "imageHeight": sample.height,
                "imageWidth": sample.width,
            }
            yield f"{split}/{stem(file)}.json", json.dumps(content, indent=1)
