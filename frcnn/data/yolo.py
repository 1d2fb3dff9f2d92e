"""YOLO text files: per image a file, per object a line ``class x y width height`` in image fractions.

Three layouts are read: Ultralytics' ``data.yaml`` with its splits, darknet's ``obj.data`` with lists of
images, and plain folders ``images`` and ``labels`` (or labels beside the images) with ``classes.txt``.
``frcnn.data.yolo_labels`` reads the label files, those of YOLO-OBB too.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from typing import NamedTuple

from frcnn.data.file_tree import FileTree
from frcnn.data.label_files import (
    by_split_folder,
    head,
    names_of,
    read_lines,
    read_yaml,
)
from frcnn.data.labels import LabelledSplit
from frcnn.data.yolo_labels import YoloLabels, are_oriented, mostly_corners, without_corners
from frcnn.errors import DataError
from frcnn.text import shown, shown_value

NAME = "yolo"
YAML_NAMES = re.compile(r"^\s*[\"']?names[\"']?\s*:", re.MULTILINE)
YAML_SPLIT = re.compile(r"^\s*[\"']?(train|val|path)[\"']?\s*:", re.MULTILINE)
CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "predefined_classes.txt", "classes.names")
LABEL_LINE = re.compile(r"^\s*\d+(\s+[-+.\deE]+){4,}\s*$")


class Written(NamedTuple):
    """Where a file says the images of a split are: its own folder, and a folder, pattern or list."""

    folder: str
    text: str


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as a YOLO data set; None if it is not one."""
    for find in (_yaml, _darknet):
        if found := find(tree):
            return found
    for file in _label_candidates(tree)[:20]:
        lines = [line for line in head(tree.path(file)).splitlines() if line.strip()]
        if lines and LABEL_LINE.match(lines[0]):
            return file
    return None


def _yaml(tree: FileTree) -> str | None:
    """Return the ``data.yaml`` of a data set."""
    for file in sorted(tree.with_ending(".yaml", ".yml"), key=lambda file: file.count("/")):
        if file.count("/") <= 1:
            text = head(tree.path(file))
            if YAML_NAMES.search(text) and YAML_SPLIT.search(text):
                return file
    return None


def _darknet(tree: FileTree) -> str | None:
    """Return the ``obj.data`` of a data set."""
    for file in tree.with_ending(".data"):
        if file.count("/") <= 1 and re.search(r"^\s*names\s*=", head(tree.path(file)), re.MULTILINE):
            return file
    return None


def _label_candidates(tree: FileTree) -> list[str]:
    """Return .txt files that may be labels: in a folder ``labels``, or with an image of their name."""
    stems = {posixpath.splitext(file)[0] for file in tree.images}
    return [
        file
        for file in tree.with_ending(".txt")
        if "labels" in file.split("/")[:-1] or posixpath.splitext(file)[0] in stems
    ]


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits; None for a folder without splits."""
    return list(_layout(tree)[0])


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: keep polygons.

    Raises:
        DataError: a list of images or the class names cannot be read.
    """
    found, classes, keypoints, source = _layout(tree)
    notes = []
    labels = YoloLabels(tree)
    images = [
        labels.read(file, place, classes, keypoints, outlines)
        for file, place in _images(tree, found[split])
    ]
    if not images:
        raise DataError(f"{source}: the split {split or 'all'} has no image")
    if labels.missing == len(images):
        raise DataError(
            f"none of the {len(images)} images of {source} has a label file: expected labels/NAME.txt "
            "for images/NAME.jpg"
        )
    if labels.missing:
        notes.append(f"{labels.missing} of {len(images)} images have no label file and so no objects")
    if not are_oriented(images):
        notes += mostly_corners(images)
        for image in images:
            without_corners(image)
    if classes is None:
        notes.append(f"{tree.root} has no classes.txt with the class names: classes are numbers")
        largest = max(
            (int(entry.name) for image in images for entry in image.objects if entry.name), default=0
        )
        classes = tuple(map(str, range(min(largest, 9999) + 1)))
    name = f"{tree.root.resolve().name} {split or 'all'}"
    return LabelledSplit(name, images, classes, notes=notes)


def _layout(
    tree: FileTree,
) -> tuple[dict[str | None, list[str | Written]], tuple[str, ...] | None, bool, str]:
    """Return {split: what lists its images}, class names, whether lines hold keypoints, the source."""
    if file := _yaml(tree):
        return _read_yaml(tree, file)
    if file := _darknet(tree):
        return _read_darknet(tree, file)
    classes = None
    for name in CLASS_FILES:
        files = [file for file in tree.files if posixpath.basename(file) == name]
        if files:
            classes = tuple(line for _, line in read_lines(tree.path(files[0])))
            break
    listed: dict[str | None, list[str | Written]] = {**by_split_folder(tree.images)}  # type: ignore[dict-item]
    return listed, classes, False, str(tree.root)


def _read_yaml(tree: FileTree, file: str):
    path = tree.path(file)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no mapping, as a data.yaml does")
    classes = names_of(content.get("names"), path)
    base = content.get("path") or ""
    if not isinstance(base, str):
        raise DataError(f"{path}: path is {shown_value(base)}, expected a folder")
    found: dict[str | None, list[str | Written]] = {}
    for split in ("train", "val", "test"):
        value = content.get(split)
        if value in (None, "", []):
            continue
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise DataError(
                f"{path}: {split} is {shown_value(value)}, expected a folder, list or .txt file"
            )
        folder = posixpath.dirname(file)
        found[split] = [Written(folder, posixpath.join(base, one).replace("\\", "/")) for one in values]
    if not found:
        raise DataError(
            f"{path} names no split: expected train, and val, with a folder or list of images"
        )
    return found, classes, "kpt_shape" in content, str(path)


def _read_darknet(tree: FileTree, file: str):
    path = tree.path(file)
    values = {}
    for _, line in read_lines(path):
        key, equals, value = line.partition("=")
        if equals:
            values[key.strip().lower()] = value.strip()
    folder = posixpath.dirname(file)
    named = values.get("names", "")
    name = posixpath.basename(named.replace("\\", "/"))
    fitting = [one for one in tree.files if posixpath.basename(one) == name]
    if not fitting:
        raise DataError(f"{path}: the file of class names {shown(named)!r} is not in {tree.root}")
    fitting.sort(key=lambda one: (posixpath.dirname(one) != folder, one.count("/")))
    classes = tuple(line for _, line in read_lines(tree.path(fitting[0])))
    found: dict[str | None, list[str | Written]] = {}
    for split, key in (("train", "train"), ("val", "valid"), ("test", "test")):
        if values.get(key):
            found[split] = [Written(folder, values[key].replace("\\", "/"))]
    if not found:
        raise DataError(f"{path} names no list of images: expected train = train.txt")
    if "val" in found and found["val"] == found.get("train"):
        del found["val"]  # darknet's tools fill both in where there is no list for validation
    return found, classes, False, str(path)


def _images(tree: FileTree, sources: list[str | Written]) -> list[tuple[str, tuple[str, str] | str]]:
    """Return the images that a split lists: (file, ""), or (name, (place, fault)) of a missing one."""
    found: list[tuple[str, tuple[str, str] | str]] = []
    for source in sources:
        if isinstance(source, str):  # a file of the tree
            found.append((source, ""))
            continue
        folder, written = source
        if written.lower().endswith(".txt"):
            file = tree.find_text(written, (folder, ""))
            for line, text in read_lines(tree.path(file)):
                try:
                    found.append((tree.find_image(text, (posixpath.dirname(file), folder, "")), ""))
                except DataError as error:
                    found.append((text, (f"{tree.path(file)} line {line}", str(error))))
            continue
        found += [(file, "") for file in _in_folder(tree, folder, written)]
    return list(dict.fromkeys(found)) if len(sources) > 1 else found


def _in_folder(tree: FileTree, folder: str, written: str) -> list[str]:
    """Return the images below a folder, or that fit a pattern; the path may begin elsewhere."""
    parts = [part for part in written.split("/") if part not in ("", ".")]
    if not parts or set(parts) == {".."}:
        parts = []
    candidates = [posixpath.normpath(posixpath.join(folder, *parts) if parts else folder or ".")]
    clean = [part for part in parts if part != ".."]
    candidates += ["/".join(clean[start:]) for start in range(len(clean) + (0 if clean else 1))]
    candidates += [posixpath.normpath(posixpath.join(folder, one)) for one in candidates[1:]]
    for candidate in candidates:
        candidate = "" if candidate == "." else candidate
        if any(sign in candidate for sign in "*?["):
            if fitting := fnmatch.filter(tree.images, candidate):
                return fitting
        elif tree.holds_images(candidate):
            below = f"{candidate}/" if candidate else ""
            return [file for file in tree.images if file.startswith(below)]
    raise DataError(
        f"there is no folder {shown(written)!r} with images in {tree.root}: name the folder that "
        "holds the images and their labels"
    )
