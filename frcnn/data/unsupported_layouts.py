"""A folder that is no VOC data set: whether it looks like another known layout, and what to do then."""

import os
import re

from frcnn.data.image_io import ENDINGS
from frcnn.files import untrusted

MOST = 2000  # entries of a folder that are looked at
EXPORT = (
    "this project reads VOC folders: export it as Pascal VOC, as labelling tools can, with Annotations, "
    "JPEGImages and ImageSets/Main"
)
COCO_HEAD = re.compile(r'^\s*\{.*"(images|annotations|categories)"\s*:', re.DOTALL)
YOLO_YAML = re.compile(r"^\s*(names|nc)\s*:", re.MULTILINE)


def describe(root):
    """Return what a folder looks like and what to do, to follow its name; None where it is not known."""
    names = _names(root)
    if found := _yolo(root, names):
        return f"looks like a YOLO data set ({found}); {EXPORT}"
    if found := _coco(root, names):
        return f"looks like a COCO data set ({found}); {EXPORT}"
    for folder in ("", *names):
        inside = _names(os.path.join(root, folder)) if folder else names
        if _with(inside, (".xml",)) and _with(inside, ENDINGS):
            return (
                f"is no VOC folder: annotations and images lie side by side in {folder or 'it'}; move "
                "the .xml files to Annotations, the images to JPEGImages, and list the names of each "
                "split, without ending, in ImageSets/Main/SPLIT.txt"
            )
    return None


def _names(folder):
    """Return the names of up to ``MOST`` entries of a folder, of none where it is no folder."""
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry, _ in zip(entries, range(MOST)))


def _with(names, endings):
    return [name for name in names if name.lower().endswith(endings)]


def _head(path):
    """Return the start of a file's text, "" where it cannot be read."""
    try:
        with untrusted.open_regular(path) as file:
            return file.read(2**16).decode("utf-8", "replace")
    except OSError:
        return ""


def _yolo(root, names):
    """Return what tells that a folder is a YOLO data set, or None."""
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


def _coco(root, names):
    """Return what tells that a folder is a COCO data set, or None."""
    for folder in ("annotations", "", "train", "valid", "test"):
        inside = _names(os.path.join(root, folder)) if folder else names
        for name in _with(inside, (".json",)):
            path = f"{folder}/{name}" if folder else name
            # "annotations" may come after megabytes of "images".
            if COCO_HEAD.search(_head(os.path.join(root, path))):
                return path
    return None
