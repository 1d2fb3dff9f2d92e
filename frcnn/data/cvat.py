"""CVAT's XML, "CVAT for images 1.1": ``<image>`` elements with ``<box>``, ``<polygon>`` and ``<mask>``.

Corners are half-open pixels counted from 0. ``rotation`` turns a box about its centre, clockwise.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import Any

import numpy as np

from frcnn.data import oriented
from frcnn.data.box_checks import polygon_box
from frcnn.data.file_tree import FileTree, image_name
from frcnn.data.label_files import head, number, read_xml, split_of
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.data.outlines import Outline, of_points
from frcnn.errors import DataError
from frcnn.text import shown

NAME = "cvat"
HEAD = re.compile(r"<annotations>\s*<version>|<annotations>.*<(image|track)\s", re.DOTALL)
NOT_BOXES = ("polyline", "points", "cuboid", "skeleton", "ellipse")


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as a CVAT export; None if it is not one."""
    return next(iter(_files(tree)), None)


def _files(tree: FileTree) -> list[str]:
    files = [file for file in tree.with_ending(".xml") if file.count("/") <= 1]
    return [file for file in files[:200] if HEAD.search(head(tree.path(file)))]


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits, which are CVAT's subsets; None for images without a subset."""
    found: dict[str | None, None] = {}
    for file in _files(tree):
        for element in read_xml(tree.path(file)).iter("image"):
            found[element.get("subset") or _of_file(file)] = None
    return list(found)


def _of_file(file: str) -> str | None:
    stem = posixpath.splitext(posixpath.basename(file))[0]
    return split_of(stem) or split_of(posixpath.dirname(file))


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: keep polygons.

    Raises:
        DataError: a file cannot be read, or labels a video.
    """
    images: list[RawImage] = []
    classes: dict[str, None] = {}
    for file in _files(tree):
        path = tree.path(file)
        root = read_xml(path)
        if root.find("track") is not None:
            raise DataError(f"{path} labels a video (<track>): export the task as 'CVAT for images 1.1'")
        for label in root.iterfind("meta//labels/label"):
            name = (label.findtext("name") or "").strip()
            if name and label.findtext("type") != "tag":  # a tag is of the whole image
                classes[name] = None
        for element in root.iter("image"):
            if (element.get("subset") or _of_file(file)) == split:
                images.append(_image(tree, file, element, split, outlines))
    name = f"{tree.root.resolve().name} {split or 'all'}"
    return LabelledSplit(name, images, tuple(classes) or None)


def _image(tree: FileTree, file: str, element: Any, split: str | None, outlines: bool) -> RawImage:
    written = element.get("name") or ""
    path = tree.path(file)
    image = RawImage(image_name(written), None, [], f"{path} image {shown(written)!r} box")
    width, height = number(element.get("width")), number(element.get("height"))
    if width > 0 and height > 0:
        image.size = (width, height)
    folder = posixpath.dirname(file)
    bases = [folder, posixpath.join(folder, "images"), "images", ""]
    if split:
        bases = [posixpath.join(folder, *parts) for parts in (("images", split), (split,))] + bases
    try:
        image.path = tree.full(tree.find_image(written, bases))
    except DataError as error:
        image.faults.append((str(path), str(error)))
    for place, child in enumerate(
        (child for child in element if child.tag in ("box", "polygon", "mask", *NOT_BOXES)), start=1
    ):
        image.objects.append(_object(place, child, outlines))
    return image


def _object(place: int, element: Any, outlines: bool) -> RawObject:
    """Return the object of one element. Its ``fault`` says what is wrong with it."""
    name, fault = element.get("label") or "", ""
    box: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    difficult = crowd = False
    outline: Outline | None = None if element.tag == "box" else Outline()
    corners = None
    for attribute in element.iterfind("attribute"):
        yes = (attribute.text or "").strip().lower() in ("true", "1", "yes")
        difficult |= yes and attribute.get("name") == "difficult"
        crowd |= yes and attribute.get("name") in ("iscrowd", "is_crowd")
    if element.tag == "box":
        box = tuple(number(element.get(corner)) for corner in ("xtl", "ytl", "xbr", "ybr"))
        if angle := number(element.get("rotation", "0")):
            corners = _turned(box, angle)
    elif element.tag == "mask":
        left, top, width, height = (
            number(element.get(side)) for side in ("left", "top", "width", "height")
        )
        box = (left, top, left + width, top + height)
    elif element.tag == "polygon":
        points = [point.split(",") for point in (element.get("points") or "").split(";")]
        if all(len(point) == 2 for point in points):
            pairs = [(number(x), number(y)) for x, y in points]
            box = polygon_box(pairs)
            outline = of_points(pairs) if outlines else outline
        else:
            fault = f"has the points {shown(element.get('points'))!r}; expected x,y;x,y;..."
    else:
        fault = f"is a <{element.tag}>, which is not read: expected <box>, <polygon> or <mask>"
    return RawObject(place, name, box, difficult, crowd, fault=fault, outline=outline, corners=corners)


def _turned(box: tuple[float, ...], degrees: float) -> list[list[float]]:
    """Return the corners of a box that is rotated about its centre."""
    turned = oriented.from_axis_aligned(np.array(box))
    turned[4] = math.radians(degrees)
    return oriented.corners(turned).tolist()
