"""DOTA's text files: per image a file, per object a line ``x1 y1 x2 y2 x3 y3 x4 y4 class difficult``.

Corners are pixels counted from 0. A file may begin with the lines ``imagesource:...`` and ``gsd:...``,
which are skipped. The files lie in a folder ``labelTxt`` (or ``labelTxt-v1.5`` and the like) beside the
folder ``images``; splits are folders above or below these.
"""

from __future__ import annotations

import posixpath
import re

from frcnn.data.file_tree import FileTree
from frcnn.data.label_files import by_split_folder, head, lines_of, number
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.errors import DataError
from frcnn.text import shown

NAME = "dota"
# The lines that may be before the objects, in lower case.
HEADER = ("imagesource:", "gsd:", "acquisition dates:")
NUMBER = r"-?\d+(\.\d*)?(e[-+]?\d+)?"
LINE = re.compile(rf"\s*({NUMBER}\s+){{8}}\S*[^\W\d]", re.IGNORECASE)


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as a DOTA data set; None if it is not one."""
    files = _files(tree)
    named = bool(files) and _below_labels(files[0])
    empty = None
    # Below labelTxt, all files: those of images without objects may come first.
    for file in files if named else files[:20]:
        lines = head(tree.path(file)).splitlines()
        if any(LINE.match(line) for line in lines[:4]):
            return file
        if named and all(line.lower().startswith(HEADER) for line in lines if line.strip()):
            empty = empty or file
    return empty  # a data set without objects


def _files(tree: FileTree) -> list[str]:
    """Return the label files: .txt files below ``labelTxt``, or if there is none, all."""
    files = tree.with_ending(".txt")
    return [file for file in files if _below_labels(file)] or files


def _below_labels(file: str) -> bool:
    return any(map(_is_labels, file.split("/")[:-1]))


def _is_labels(folder: str) -> bool:
    return folder.lower().startswith("labeltxt")


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits, which are folders; None for files outside such folders."""
    return list(by_split_folder(_files(tree)))


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: as for the other readers; four corners are kept in any case.
    """
    images = [_image(tree, file, split) for file in by_split_folder(_files(tree))[split]]
    labelled = {image.path for image in images}
    rest = [one for one in by_split_folder(tree.images).get(split, []) if tree.full(one) not in labelled]
    notes = [f"{len(rest)} images have no label file: they are not used"] if rest else []
    return LabelledSplit(f"{tree.root.resolve().name} {split or 'all'}", images, notes=notes)


def _image(tree: FileTree, file: str, split: str | None) -> RawImage:
    path, parts = tree.path(file), file.split("/")[:-1]
    name = posixpath.splitext(posixpath.basename(file))[0]
    image = RawImage(name, None, [], f"{path} line")
    # images/train for labelTxt/train, and train/images for train/labelTxt.
    twins = ["/".join(["images" if _is_labels(part) else part for part in parts])]
    above = [parts[:at] for at, part in enumerate(parts) if _is_labels(part)]
    twins += ["/".join([*folder, "images"]) for folder in above]
    try:
        image.path = tree.full(tree.find_image(name, (*twins, split or "", "images", "")))
    except DataError as error:
        image.faults.append((str(path), str(error)))
    for line, text in lines_of(image, path):
        if not text.lower().startswith(HEADER):
            image.objects.append(_object(line, text))
    return image


def _object(line: int, text: str) -> RawObject:
    """Return the object of one line. Its ``fault`` says what is wrong with it."""
    fields = text.split(None, 8)
    values = [number(field) for field in fields[:8]]
    fault, name, difficult = "", "", False
    if len(fields) < 9 or any(value != value for value in values):
        fault = f"is {shown(text, 80)!r}; expected eight numbers, a class, and 0 or 1 for difficult"
    else:
        words = fields[8].split()
        difficult = len(words) > 1 and words[-1].isdecimal() and words.pop() != "0"
        name = " ".join(words)  # DOTA-v1.0's first files have no flag
        if len(words) > 1 and number(words[0]) == number(words[0]):
            fault = f"is {shown(text, 80)!r}: more than eight numbers; expected four corners"
    corners = list(zip(values[::2], values[1::2]))
    return RawObject(line, name, (0, 0, 0, 0), difficult, fault=fault, corners=corners)
