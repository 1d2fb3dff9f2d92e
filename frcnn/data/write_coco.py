"""Write COCO JSON: ``annotations/instances_SPLIT.json``, the images in a folder for each split.

An object that is difficult and no crowd gets ``"ignore": 1``, which COCO's own code reads as such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from frcnn.data.converted import Converted, angles_of, crowd_of, outlines_of, rounded

STORES = frozenset({"difficult", "crowd", "area", "empty", "classes"}) | {
    "polygon",
    "parts",
    "box of polygon",
    "mask",
}
MIN_SIDE = 0.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set. Ids count from 1, in every file."""
    categories = [{"id": number, "name": name} for number, name in enumerate(data.classes, start=1)]
    for split, images in data.splits.items():
        entries: list[dict] = []
        annotations: list[dict] = []
        for number, (file, sample) in enumerate(images, start=1):
            sides = {"width": sample.width, "height": sample.height}
            entries.append({"id": number, "file_name": file, **sides})
            crowd, outlines, angles = crowd_of(sample), outlines_of(sample), angles_of(sample)
            for row, (x1, y1, x2, y2) in enumerate(rounded(sample.boxes)):
                width, height = round(x2 - x1, 3), round(y2 - y1, 3)
                turned = angles[row]
                area = width * height if turned is None else round(float(np.prod(turned[2:4])), 3)
                annotation: dict[str, Any] = {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(sample.labels[row]) + 1,
                    "bbox": [x1, y1, width, height],
                    "area": area if sample.area is None else float(sample.area[row]),
                    "iscrowd": int(crowd[row]),
                }
                if sample.difficult[row] and not crowd[row]:
                    annotation["ignore"] = 1
                if (outline := outlines[row]) is not None:
                    rings = [ring.ravel().tolist() for ring in outline.rings]
                    annotation["segmentation"] = rings or outline.rle
                annotations.append(annotation)
        content = {"images": entries, "annotations": annotations, "categories": categories}
        yield f"annotations/instances_{split}.json", json.dumps(content)
