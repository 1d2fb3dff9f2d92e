"""COCO JSON: ``images``, ``annotations`` and ``categories`` in one file per split.

A box is ``[x, y, width, height]`` in pixels counted from 0, so ``x + width`` is half-open as ours.
Objects with ``iscrowd`` are neither trained on nor counted for or against a detector, as in COCO.
Exporters differ: ids may be text or floats and have gaps, sizes may be missing, images may lie in
folders of any name.
"""

from __future__ import annotations

import functools
import posixpath
import re
from pathlib import Path
from typing import Any

import numpy as np

from frcnn.data.faults import Fault
from frcnn.data.file_tree import FileTree, image_name
from frcnn.data.label_files import HEAD_BYTES, head, read_json, split_of
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.data.outlines import Outline
from frcnn.errors import DataError
from frcnn.text import listed, shown, shown_value

NAME = "coco"
HEAD = re.compile(r'\s*\{.*"(images|annotations)"\s*:\s*\[', re.DOTALL)
# Of a file that is longer than its head. A short one is no COCO file: Label Studio's notes.json.
LONG_HEAD = re.compile(r'\s*\{.*"(categories|licenses)"\s*:\s*\[', re.DOTALL)
# COCO's other tasks, beside whose files lie those of boxes.
OTHER_TASKS = ("captions_", "person_keypoints_", "stuff_", "panoptic_", "image_info_")
# COCO's own files hold objects that are less than a pixel wide.
MIN_SIDE = 0.0
NO_CORNERS = Outline()


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as a COCO data set; None if it is not one."""
    return next(iter(_files(tree).values()), None)


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits; None for the only file, if its name is not that of a split."""
    return list(_files(tree))


def _files(tree: FileTree) -> dict[str | None, str]:
    """Return {split: JSON file}."""
    found = []
    for file in tree.with_ending(".json"):
        name = posixpath.basename(file)
        if file.count("/") <= 2 and not name.startswith(OTHER_TASKS) and _has_head(tree.path(file)):
            found.append(file)
    if len(found) == 1:
        return {_split(found[0]): found[0]}
    named: dict[str | None, str] = {}
    for file in found:
        split = _split(file) or posixpath.splitext(posixpath.basename(file))[0].removeprefix(
            "instances_"
        )
        if split in named:
            split = posixpath.splitext(file)[0].replace("/", "_")
        named[split] = file
    return named


def _has_head(path: Path) -> bool:
    text = head(path)
    return bool(HEAD.match(text) or (LONG_HEAD.match(text) and path.stat().st_size > HEAD_BYTES))


def _split(file: str) -> str | None:
    folder, name = posixpath.split(file)
    return split_of(posixpath.splitext(name)[0]) or split_of(posixpath.basename(folder))


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: keep polygons.

    Raises:
        DataError: the file cannot be read, or is not a COCO file.
    """
    file = _files(tree)[split]
    path = tree.path(file)
    content = read_json(path, functools.partial(_slim, outlines=outlines))
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no COCO data set")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise DataError(f"{path} has no list {key!r}, as a COCO data set has")
    names, notes = _categories(content, path)
    images, faults = _images(content["images"], tree, file, split)
    faults += _objects(content["annotations"], images, names, path)
    return LabelledSplit(
        f"{tree.root.resolve().name} {split or posixpath.splitext(posixpath.basename(file))[0]}",
        [image for image in images.values()],
        tuple(dict.fromkeys(names.values())),
        faults,
        notes,
        MIN_SIDE,
    )


def _slim(entry: dict[str, Any], outlines: bool = False) -> dict[str, Any]:
    """Replace an annotation's polygons, which are most of a file, while the file is parsed.

    They become ``outline``, an ``Outline``, which has them only if polygons are kept. If the annotation
    has no ``bbox``, it gets the box around the polygons.
    """
    if "segmentation" in entry:
        shape = entry.pop("segmentation")
        if not shape or shape == [[]]:
            return entry
        entry["outline"] = NO_CORNERS
        if outlines or "bbox" not in entry:
            rings = _rings(shape)
            if "bbox" not in entry and rings:
                x1, y1, x2, y2 = Outline(rings).box(np.inf, np.inf).tolist()
                entry["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            if outlines and isinstance(shape, dict) and {"counts", "size"} <= shape.keys():
                entry["outline"] = Outline(rle=shape)
            elif outlines and all(len(ring) >= 3 for ring in rings):
                entry["outline"] = Outline(rings)
    return entry


def _rings(shape: Any) -> tuple[np.ndarray, ...]:
    """Return the corners of each polygon of a ``segmentation``; () for a mask or a broken polygon."""
    try:
        rings = tuple(np.array(ring, "float64").reshape(-1, 2) for ring in shape if len(ring))
    except (TypeError, ValueError, OverflowError):
        return ()
    return rings if all(np.isfinite(ring).all() for ring in rings) else ()


def _key(value: Any) -> Any:
    """Return an id as an int if it is a whole number, also one that is written as text or float."""
    if type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,30}", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else repr(value)


def _categories(content: dict[str, Any], path: Path) -> tuple[dict[Any, str], list[str]]:
    """Return {id: class name} in the order of the ids, and notes."""
    names: dict[Any, str] = {}
    groups = set()
    for index, category in enumerate(content["categories"]):
        if not isinstance(category, dict) or "id" not in category:
            raise DataError(
                f"{path}: categories[{index}] is {shown_value(category)}; expected id and name"
            )
        name, group = category.get("name"), category.get("supercategory")
        label = name or group
        if not isinstance(label, str):
            raise DataError(f"{path}: categories[{index}] has no name")
        if _key(category["id"]) in names:
            raise DataError(f"{path}: categories[{index}] has the id of another category")
        names[_key(category["id"])] = label
        if group and name != group:
            groups.add(group)
    try:
        names = dict(sorted(names.items()))
    except TypeError:  # ids are text and numbers
        pass
    used = {
        _key(entry.get("category_id")) for entry in content["annotations"] if isinstance(entry, dict)
    }
    # Roboflow writes the whole data set as a category 0, which is the supercategory of all others.
    empty = [key for key, name in names.items() if name in groups and key not in used and len(names) > 1]
    names = {key: name for key, name in names.items() if key not in empty}
    counts = list(names.values())
    twice = sorted({name for name in counts if counts.count(name) > 1})
    return names, [
        f"{path}: several categories are named {listed(twice)}: taken as one"
    ] if twice else []


def _images(
    entries: list[Any], tree: FileTree, file: str, split: str | None
) -> tuple[dict[Any, RawImage], list[Fault]]:
    """Return {id: ``RawImage``}, and the faults of entries that are no images."""
    folder = posixpath.dirname(file)
    around = posixpath.dirname(folder)
    parts = [split] if split else []
    bases = [folder, *(posixpath.join(around, name, part) for part in parts for name in ("", "images"))]
    bases += [posixpath.join(around, name) for name in ("images", "data", "")]
    path = tree.path(file)
    objects = f"{path}: annotations["
    found: dict[Any, RawImage] = {}
    faults = []
    for index, entry in enumerate(entries):
        place = f"{path}: images[{index}]"
        if (
            not isinstance(entry, dict)
            or "id" not in entry
            or not isinstance(entry.get("file_name"), str)
        ):
            name = f"images[{index}]"
            faults.append(Fault(name, place, f"is {shown_value(entry)}; expected id and file_name"))
            continue
        written, key = entry["file_name"], _key(entry["id"])
        image = RawImage(image_name(written), None, [], objects)
        if key in found:
            faults.append(Fault(written, place, f"has the id {key!r} of {shown(found[key].name)}"))
            continue
        width, height = entry.get("width"), entry.get("height")
        if isinstance(width, (int, float)) and isinstance(height, (int, float)):
            image.size = width, height
        try:
            image.path = tree.full(tree.find_image(written, bases))
        except DataError as error:
            image.faults.append((place, str(error)))
        found[key] = image
    return found, faults


def _objects(
    entries: list[Any], images: dict[Any, RawImage], names: dict[Any, str], path: Path
) -> list[Fault]:
    """Add the annotations to their images; return the faults of those without an image."""
    faults = []
    for index, entry in enumerate(entries):
        image = images.get(_key(entry.get("image_id"))) if isinstance(entry, dict) else None
        if image is None:
            name = f"annotations[{index}]"
            what = f"belongs to no image of the file: {shown_value(entry)}"
            faults.append(Fault(name, f"{path}: {name}", what))
            continue
        fault, box = "", entry.get("bbox")
        label = names.get(_key(entry.get("category_id")))
        if label is None:
            fault = (
                f"has the category_id {shown_value(entry.get('category_id'))}, which is no category's"
            )
        if isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)):
            x, y, width, height = map(float, box)
            if width < 0 or height < 0:
                fault = fault or f"has a bbox of negative size: {box}"
            box = (x, y, x + width, y + height)
        else:
            fault = fault or f"has the bbox {shown_value(box)}; expected [x, y, width, height]"
        area = entry.get("area")
        area = float(area) if _is_number(area) else None
        difficult = entry.get("ignore") in (1, True) or entry.get("difficult") in (1, True)
        crowd = entry.get("iscrowd") in (1, True)
        outline = entry.get("outline")
        outline = outline if isinstance(outline, Outline) else None
        image.objects.append(RawObject(index, label or "", box, difficult, crowd, area, fault, outline))
    return faults


def _is_number(value: Any) -> bool:
    return (type(value) is float or type(value) is int) and -1e30 < value < 1e30  # no NaN
