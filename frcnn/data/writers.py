"""The formats that labels can be written in.

``WRITERS`` is the table of them. Each entry is a module with ``image_file(split, file)``, where an image
belongs, and ``files(converted)``, which yields (path, text) of the label files; and with

- ``STORES``: the members of ``WORDS`` that the format can store;
- ``MIN_SIDE``: pixels that a box's sides must have, to be read again;
- ``SPLITS``: the names that a split may have; None: any.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from frcnn.data import (
    write_coco,
    write_csv,
    write_cvat,
    write_dota,
    write_labelme,
    write_openimages,
    write_voc,
    write_yolo,
)

WORDS = {
    "difficult": "flag of objects",
    "crowd": "flag of objects",
    "area": "of the objects' masks",
    "empty": "images without objects",
    "classes": "their order, and those without objects",
    "polygon": "one per object",
    "parts": "several polygons per object",
    "box of polygon": "the box of an object beside its polygon",
    "polygon only": "no box in a file with polygons",
    "mask": "COCO's run lengths",
    "oriented": "boxes with an angle",
    "four points": "four corners per object, in data sets with oriented boxes",
    "inside": "other readers refuse corners outside the image",
}
WRITERS: Mapping[str, ModuleType] = {
    "voc": write_voc,
    "coco": write_coco,
    "yolo": write_yolo,
    "csv": write_csv,
    "cvat": write_cvat,
    "dota": write_dota,
    "labelme": write_labelme,
    "openimages": write_openimages,
}
