"""Write LabelMe's JSON: one file beside each image, in a folder for each split."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from frcnn.data.converted import Converted, angles_of, crowd_of, outlines_of, rounded, stem
from frcnn.data.oriented import corners
from frcnn.data.outlines import Outline

STORES = frozenset({"difficult", "crowd", "empty", "polygon", "oriented"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    for split, images in data.splits.items():
        for file, sample in images:
            crowd, outlines, angles = crowd_of(sample), outlines_of(sample), angles_of(sample)
            shapes = [
                {
                    "label": data.classes[sample.labels[row]],
                    "group_id": None,
                    **_shape(box, outlines[row], angles[row]),
                    "flags": {
                        name: True
                        for name, is_set in (
                            ("difficult", bool(sample.difficult[row])),
                            ("crowd", crowd[row]),
                        )
                        if is_set
                    },
                }
                for row, box in enumerate(rounded(sample.boxes))
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


def _shape(box: list[float], outline: Outline | None, angle: np.ndarray | None) -> dict[str, Any]:
    """Return the points and the kind of an object's shape."""
    if angle is not None:
        return {"points": corners(angle).round(3).tolist(), "shape_type": "oriented_rectangle"}
    if outline is not None:
        return {"points": outline.rings[0].tolist(), "shape_type": "polygon"}
    return {"points": [box[:2], box[2:]], "shape_type": "rectangle"}
