"""LabelMe's JSON: one file per image, with ``shapes`` of points in pixels counted from 0.

Masks, polygons and circles become the boxes around them. Rotated rectangles have four corners.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import Any

from frcnn.data.box_checks import polygon_box
from frcnn.data.file_tree import FileTree
from frcnn.data.label_files import by_split_folder, head, read_json
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.data.outlines import Outline, of_points
from frcnn.errors import DataError
from frcnn.text import shown, shown_value

NAME = "labelme"
HEAD = re.compile(r'\s*\{.*"(shapes|imagePath|imageData|imageHeight)"\s*:', re.DOTALL)
# Shape -> the fewest points that it has.
SHAPES = {"rectangle": 2, "mask": 2, "circle": 2, "polygon": 3, "rotation": 4, "oriented_rectangle": 4}


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as one of LabelMe; None if it is not one."""
    for file in tree.with_ending(".json")[:20]:
        if HEAD.match(head(tree.path(file))):
            return file
    return None


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits, which are folders; None for files outside such folders."""
    return list(by_split_folder(tree.with_ending(".json")))


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: keep polygons.
    """
    files = by_split_folder(tree.with_ending(".json"))[split]
    images = [_image(tree, file, outlines) for file in files]
    labelled = {image.path for image in images}
    folders = {posixpath.dirname(image) for image in tree.images if tree.full(image) in labelled}
    rest = [
        image
        for image in tree.images
        if posixpath.dirname(image) in folders and tree.full(image) not in labelled
    ]
    notes = [f"{len(rest)} images beside them have no JSON file: they are not used"] if rest else []
    return LabelledSplit(f"{tree.root.resolve().name} {split or 'all'}", images, notes=notes)


def _image(tree: FileTree, file: str, outlines: bool) -> RawImage:
    path = tree.path(file)
    image = RawImage(posixpath.splitext(file)[0], None, [], f"{path}: shapes[")
    try:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise DataError(f"{path} holds no list 'shapes', as a file of LabelMe does")
        written = content.get("imagePath")
        if not isinstance(written, str) or not written:
            raise DataError(f"{path} has the imagePath {shown_value(written)}; expected an image's name")
        width, height = content.get("imageWidth"), content.get("imageHeight")
        if isinstance(width, (int, float)) and isinstance(height, (int, float)):
            image.size = width, height
    except DataError as error:
        image.faults.append((str(path), str(error).removeprefix(f"{path} ")))
        return image
    folder = posixpath.dirname(file)
    try:
        image.path = tree.full(_find(tree, file, written, folder))
    except DataError as error:
        embedded = (
            "; its imageData holds the image: save it as a file" if content.get("imageData") else ""
        )
        image.faults.append((str(path), f"{error}{embedded}"))
    for index, shape in enumerate(content["shapes"]):
        image.objects.append(_object(index, shape, outlines))
    return image


def _find(tree: FileTree, file: str, written: str, folder: str) -> str:
    try:
        return tree.find_image(written, (folder, posixpath.join(folder, "images"), "images", ""))
    except DataError:
        # The image was renamed together with its JSON file, which still has the old name.
        stem = posixpath.splitext(file)[0]
        own = [image for image in tree.images if posixpath.splitext(image)[0] == stem]
        if len(own) == 1:
            return own[0]
        raise


def _object(index: int, shape: Any, outlines: bool) -> RawObject:
    """Return the object of one shape. Its ``fault`` says what is wrong with it."""

    def faulty(what: str) -> RawObject:
        return RawObject(index, "", (0, 0, 0, 0), fault=what)

    if not isinstance(shape, dict):
        return faulty(f"is {shown_value(shape)}; expected a shape")
    kind = shape.get("shape_type") or "polygon"  # LabelMe 3 wrote no type
    points: Any = shape.get("points")
    if kind not in SHAPES:
        return faulty(f"is a {shown(kind)}, which has no box: expected {', '.join(SHAPES)}")
    try:
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError, OverflowError):
        return faulty(f"has the points {shown_value(points)}; expected [x, y] pairs")
    if len(pairs) < SHAPES[kind]:
        return faulty(f"is a {kind} with {len(pairs)} points; expected {SHAPES[kind]}")
    box = polygon_box(pairs)
    if kind == "circle":  # its centre, and a point on it
        (x, y), edge = pairs[:2]
        radius = math.dist((x, y), edge)
        box = (x - radius, y - radius, x + radius, y + radius)
    has_angle = kind in ("rotation", "oriented_rectangle") and len(pairs) == 4
    polygon = outlines and kind not in ("rectangle", "circle", "mask")
    flags = shape.get("flags")
    flags = flags if isinstance(flags, dict) else {}
    difficult = True in (shape.get("difficult"), flags.get("difficult"))
    name = shape.get("label")
    return RawObject(
        index,
        name if isinstance(name, str) else "",
        box,
        difficult,
        flags.get("crowd") is True,
        outline=None if kind == "rectangle" or has_angle else of_points(pairs) if polygon else Outline(),
        corners=pairs if has_angle else None,
        fault="" if isinstance(name, str) else f"has the label {shown_value(name)}; expected text",
    )
