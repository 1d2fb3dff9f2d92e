"""Recognise data sets of other formats than VOC, and say what to do about them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from frcnn.data.image_io import ENDINGS
from frcnn.files import untrusted
from frcnn.text import shown

MOST = 2000  # entries per folder that are looked at
EXPORT = (
    "this project reads VOC folders: export it as Pascal VOC, as labelling tools can, with Annotations, "
    "JPEGImages and ImageSets/Main"
)
COCO_HEAD = re.compile(r'^\s*\{.*"(images|annotations|categories)"\s*:', re.DOTALL)
YOLO_YAML = re.compile(r"^\s*(names|nc)\s*:", re.MULTILINE)


def describe(root: Path | str) -> str | None:
    """Return what a folder looks like and what to do about it, None if it looks like nothing known.

    Returns:
        The end of a sentence that begins with the folder's name.
    """
    names = _names(root)
    if found := _yolo(root, names):
        return f"looks like a YOLO data set ({shown(found)}); {EXPORT}"
    if found := _coco(root, names):
        return f"looks like a COCO data set ({shown(found)}); {EXPORT}"
    for folder in ("", *names):
        inside = _names(os.path.join(root, folder)) if folder else names
        if _with(inside, (".xml",)) and _with(inside, ENDINGS):
            return (
                "is not a VOC folder: annotations and images lie together in "
                f"{shown(folder) or 'it'}; move the .xml files to Annotations, images to JPEGImages, "
                "and list the names of each split, without ending, in ImageSets/Main/SPLIT.txt"
            )
    return None


def _names(folder: Path | str) -> list[str]:
    """Return the names of up to ``MOST`` entries of a folder; none if it is not a folder."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry, _ in zip(entries, range(MOST)))


def _with(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    return [name for name in names if name.lower().endswith(endings)]


def _head(path: str) -> str:
    """Return the start of a file's text, empty if it cannot be read."""
    try:
        with untrusted.open_regular(path) as file:
            return file.read(2**16).decode("utf-8", "replace")
    except OSError:
        return ""


def _yolo(root: Path | str, names: list[str]) -> str | None:
    """Return the file that shows that a folder is a YOLO data set, or None."""
    for name in _with(names, (".yaml", ".yml")):
        if YOLO_YAML.search(_head(os.path.join(root, name))):
            return name
    for name in ("obj.names", "obj.data", "_darknet.labels", "classes.txt"):
        if name in names:
            return name
    for folder in ("labels", "labels/train", "labels/val", "train/labels"):
        if _with(_names(os.path.join(root, folder)), (".txt",)):
            return f"{folder}/*.txt"
    images = {os.path.splitext(name)[0] for name in _with(names, ENDINGS)}
    if any(os.path.splitext(name)[0] in images for name in _with(names, (".txt",))):
        return "a .txt file beside each image"
    return None


def _coco(root: Path | str, names: list[str]) -> str | None:
    """Return the file that shows that a folder is a COCO data set, or None."""
    for folder in ("annotations", "", "train", "valid", "test"):
        inside = _names(os.path.join(root, folder)) if folder else names
        for name in _with(inside, (".json",)):
            path = f"{folder}/{name}" if folder else name
            # "annotations" may come after megabytes of "images".
            if COCO_HEAD.search(_head(os.path.join(root, path))):
                return path
    return None
