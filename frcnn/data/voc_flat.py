"""VOC's XML without VOC's folders: annotations beside the images, or in folders of any name.

An annotation is read as in a VOC folder: corners are counted from 1, inclusive. An object with a polygon
and no ``<bndbox>`` gets the box around the polygon. Splits are folders; a single folder has no splits.
"""

from __future__ import annotations

import math
import posixpath
import re
from typing import Any

import numpy as np

from frcnn.data import oriented, voc_annotation
from frcnn.data.box_checks import polygon_box
from frcnn.data.file_tree import FileTree
from frcnn.data.label_files import by_split_folder, head, number
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.errors import DataError

NAME = "voc-flat"
HEAD = re.compile(r"<annotation[\s>/]")


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as one with VOC annotations; None if it is not one.

    None, too, if a VOC folder with lists of its splits is below it: ``frcnn.data.voc`` reads that.
    """
    if any("ImageSets/Main/" in file for file in tree.files):
        return None
    for file in tree.with_ending(".xml")[:20]:
        if HEAD.search(head(tree.path(file))):
            return file
    return None


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits; None for files that are not in the folder of a split."""
    return list(by_split_folder(tree.with_ending(".xml")))


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: keep polygons.
    """
    files = by_split_folder(tree.with_ending(".xml"))[split]
    images = [_image(tree, file, outlines) for file in files]
    return LabelledSplit(f"{tree.root.resolve().name} {split or 'all'}", images)


def _image(tree: FileTree, file: str, outlines: bool) -> RawImage:
    path = tree.path(file)
    stem = posixpath.splitext(file)[0]
    image = RawImage(stem, None, [], f"{path} box")
    try:
        root = voc_annotation.parse(path)
        written = voc_annotation.text_of(root, "filename")
    except DataError as error:
        image.faults.append((str(path), str(error)))
        return image
    folder = posixpath.dirname(file)
    parts = folder.split("/")
    twins = ["/".join([*parts[:at], "images", *parts[at + 1 :]]) for at in range(len(parts))]
    bases = (
        folder,
        *twins,
        posixpath.join(folder, "images"),
        posixpath.join(posixpath.dirname(folder), "images"),
    )
    own = posixpath.basename(stem)
    named = posixpath.basename(written.replace("\\", "/"))
    try:
        # The image of the annotation's own name; <filename> is often an older one.
        image.path = tree.full(tree.find_image(own, bases))
    except DataError as error:
        try:
            image.path = tree.full(tree.find_image(named or own, bases))
        except DataError:
            image.faults.append((str(path), str(error)))
    sides = [number(root.findtext(f"size/{side}") or "") for side in ("width", "height")]
    if min(sides) > 0:
        image.size = (sides[0], sides[1])
    for place, element in enumerate(root.findall("object"), start=1):
        image.objects.append(_object(place, element, outlines))
    return image


def _object(place: int, element: Any, outlines: bool) -> RawObject:
    """Return the object of one element. Its ``fault`` says what is wrong with it."""
    try:
        name = voc_annotation.read_name(element)
        difficult = voc_annotation.read_difficult(element)
        if turned := voc_annotation.read_oriented(element, math.inf, math.inf):
            points = oriented.corners(np.array(turned)).tolist()
            return RawObject(place, name, (0, 0, 0, 0), difficult, corners=points)
        if element.find("bndbox") is None and element.find("polygon") is not None:
            box = polygon_box(voc_annotation.read_polygon(element))
        else:
            xmin, ymin, xmax, ymax = voc_annotation.read_corners(element)
            box = (xmin - 1, ymin - 1, xmax, ymax)
        outline = voc_annotation.read_outline(element, outlines)
    except DataError as error:
        return RawObject(place, "", (0, 0, 0, 0), fault=str(error))
    return RawObject(place, name, box, difficult, outline=outline)
