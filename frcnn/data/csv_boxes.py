"""CSV files with one object per row.

Without a header a row is ``path,x1,y1,x2,y2,class``, as keras-frcnn and keras-retinanet write it; the
row ``path,,,,,`` is an image without objects. In ``path,x1,y1,x2,y2,x3,y3,x4,y4,class`` an object has
four corners, and so an angle. With a header the columns may have any order. Known are the headers of
TensorFlow's and Roboflow's exports, and of OpenImages, whose boxes are in fractions of the image. A file
of two columns, ``class,number``, gives the order of the classes. OpenImages' class descriptions give
their readable names.
"""

from __future__ import annotations

import csv
import posixpath
import re
from collections.abc import Mapping

from frcnn.data.file_tree import IMAGE_ENDINGS, FileTree, image_name
from frcnn.data.label_files import delimiter_of, first_line, head, number, read_csv, split_of
from frcnn.data.labels import LabelledSplit, RawImage, RawObject
from frcnn.errors import DataError
from frcnn.text import listed, shown

NAME = "csv"
# What a column holds -> its names in headers, in lower case.
COLUMNS = {
    "image": (
        "filename",
        "file_name",
        "file",
        "path",
        "image",
        "image_path",
        "imageid",
        "image_id",
        "img",
    ),
    "class": ("class", "label", "labelname", "class_name", "category", "name", "class_id"),
    "x1": ("xmin", "x1", "x_min", "left", "bbox_x1"),
    "y1": ("ymin", "y1", "y_min", "top", "bbox_y1"),
    "x2": ("xmax", "x2", "x_max", "right", "bbox_x2"),
    "y2": ("ymax", "y2", "y_max", "bottom", "bbox_y2"),
    "x3": ("x3",),
    "y3": ("y3",),
    "x4": ("x4",),
    "y4": ("y4",),
    "width": ("width", "image_width", "img_width"),
    "height": ("height", "image_height", "img_height"),
    "crowd": ("isgroupof", "iscrowd", "crowd"),
    "difficult": ("difficult",),
}
BOX = ("x1", "y1", "x2", "y2")
FOUR_POINTS = (*BOX, "x3", "y3", "x4", "y4")
NEEDED = ("image", "class", *BOX)
# The order of the columns without a header.
PLAIN, PLAIN_FOUR_POINTS = (
    {what: place for place, what in enumerate(("image", *numbers, "class"))}
    for numbers in (BOX, FOUR_POINTS)
)


def recognise(tree: FileTree) -> str | None:
    """Return a file by which a folder is recognised as a CSV data set; None if it is not one."""
    return next(iter(_files(tree).values()), [None])[0]


def splits(tree: FileTree) -> list[str | None]:
    """Return the names of the splits; None for files whose names are not those of splits."""
    return list(_files(tree))


def _files(tree: FileTree) -> dict[str | None, list[str]]:
    """Return {split: its CSV files}."""
    found: dict[str | None, list[str]] = {}
    candidates = [file for file in tree.with_ending(".csv", ".txt") if file.count("/") <= 1]
    for file in candidates[:200]:
        if _columns(_first_row(tree, file)) is not None:
            stem = posixpath.splitext(posixpath.basename(file))[0]
            split = split_of(stem) or split_of(posixpath.dirname(file))
            found.setdefault(split, []).append(file)
    if len(found) > 1 and None in found:
        del found[None]  # all of the labels in one file, beside those of the splits
    return found


def _first_row(tree: FileTree, file: str) -> list[str]:
    line = first_line(head(tree.path(file))).strip()
    row = next(csv.reader([line], delimiter=delimiter_of(line)), [])
    return [field.strip() for field in row]


def _columns(row: list[str]) -> tuple[Mapping[str, int], bool] | None:
    """Return {what: column} of a file's first row and whether it is a header; None: it is neither."""
    names = [field.lower() for field in row]
    found = {}
    for what, known in COLUMNS.items():
        fitting = [names.index(name) for name in known if name in names]
        if fitting:
            found[what] = fitting[0]
    if all(what in found for what in NEEDED):
        return found, True
    for columns in (PLAIN, PLAIN_FOUR_POINTS):
        plain = len(row) == len(columns) and row[0].lower().endswith(IMAGE_ENDINGS)
        if plain and (not any(row[1:]) or all(number(field) == number(field) for field in row[1:-1])):
            return columns, False
    return None


def _numbers(columns: Mapping[str, int]) -> tuple[str, ...]:
    """Return the columns of an object's numbers: of its box, or of its four corners."""
    return FOUR_POINTS if all(what in columns for what in FOUR_POINTS) else BOX


def read(tree: FileTree, split: str | None, outlines: bool = False) -> LabelledSplit:
    """Return the labels of one split.

    Args:
        tree: the data set's files.
        split: one of ``splits``.
        outlines: as for the other readers; these files have none.

    Raises:
        DataError: a file cannot be read, or has columns for three corners, or more than four.
    """
    images: dict[str, RawImage] = {}
    files = _files(tree)[split]
    if len(files) > 1:
        raise DataError(f"several CSV files hold {split or 'the labels'}: {listed(files)}: leave one")
    order, readable = _class_files(tree)
    path = tree.path(files[0])
    rows = read_csv(path)
    first = _first_row(tree, files[0])
    columns, has_header = _columns(first) or (PLAIN, False)
    corners = {name for name in map(str.lower, first) if re.fullmatch(r"[xy]\d+", name)}
    if has_header and corners - {*BOX} and corners != {*FOUR_POINTS}:
        expected = f"{','.join(BOX)} or {','.join(FOUR_POINTS)}"
        raise DataError(f"{path}: has the columns {','.join(sorted(corners))}; expected {expected}")
    shares = has_header and _in_shares(rows[1:], columns)
    bases = [posixpath.dirname(files[0])]
    bases += [posixpath.join(*filter(None, (name, split))) for name in ("", "images") if split or name]
    for line, row in rows[has_header:]:
        where = f"{path} line {line}"
        if len(row) <= max(columns[what] for what in (*NEEDED, *_numbers(columns))):
            name = row[0] if row else ""
            image = images.setdefault(name, RawImage(name, None, [], ""))
            image.faults.append((where, f"has {len(row)} columns, expected {max(columns.values()) + 1}"))
            continue
        written = row[columns["image"]]
        if written not in images:
            images[written] = image = _image(tree, written, (*bases, "images", ""), where)
            image.place, image.shares = f"{path} line", shares
        image = images[written]
        sides = [number(row[columns[side]]) for side in ("width", "height") if side in columns]
        if len(sides) == 2 and min(sides) > 0:
            image.size = (sides[0], sides[1])
        if any(row[columns[what]] for what in NEEDED[1:]):
            image.objects.append(_object(line, row, columns, readable))
    return LabelledSplit(f"{tree.root.resolve().name} {split or 'all'}", list(images.values()), order)


def _image(tree: FileTree, written: str, bases: tuple[str, ...], where: str) -> RawImage:
    name = image_name(written)
    try:
        return RawImage(name, tree.full(tree.find_image(written, bases)), [], "")
    except DataError as error:
        return RawImage(name, None, [], "", faults=[(where, str(error))])


def _object(
    line: int, row: list[str], columns: Mapping[str, int], readable: Mapping[str, str]
) -> RawObject:
    """Return the object of one row. Its ``fault`` says what is wrong with it."""
    texts = [row[columns[what]] for what in _numbers(columns)]
    values = [number(text) for text in texts]
    fault = ""
    if any(value != value for value in values):
        count = "four" if len(values) == 4 else "eight"
        fault = f"has the corners {', '.join(map(shown, texts))}; expected {count} numbers"
    corners = list(zip(values[::2], values[1::2])) if len(values) == 8 else None

    def flag(what: str) -> bool:
        at = columns.get(what, len(row))
        return at < len(row) and row[at].lower() in ("1", "true", "yes")

    name = row[columns["class"]]
    name = readable.get(name, name)
    flags = flag("difficult"), flag("crowd")
    return RawObject(line, name, values[:4], *flags, fault=fault, corners=corners)


def _in_shares(rows: list[tuple[int, list[str]]], columns: Mapping[str, int]) -> bool:
    """Return whether a file's corners are fractions of the image: all from 0 to 1, not all whole."""
    values = [
        number(row[columns[corner]])
        for _, row in rows
        for corner in _numbers(columns)
        if columns[corner] < len(row) and row[columns[corner]]
    ]
    fractions = any(value != int(value) for value in values if abs(value) < 1e9)
    return bool(values) and fractions and all(-0.5 <= value <= 1.5 for value in values)


def _class_files(tree: FileTree) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """Return the order of the classes (None: not given), and {class in the labels: readable name}."""
    for file in tree.with_ending(".csv", ".txt"):
        name = posixpath.basename(file).lower()
        if file.count("/") > 1 or "class" not in name:
            continue
        rows = [row for _, row in read_csv(tree.path(file))]
        if not rows or any(len(row) != 2 for row in rows):
            continue
        machine = [bool(re.fullmatch(r"/[mgt]/\w+", row[0])) for row in rows]
        if any(machine) and all(machine[1:]):  # OpenImages, with a header or without
            return None, {row[0]: row[1] for row in rows}
        numbers = [int(row[1]) for row in rows if row[1].isdecimal()]
        if sorted(numbers) != list(range(len(rows))):
            raise DataError(
                f"{tree.path(file)}: expected class,number with the numbers 0 to {len(rows) - 1}"
            )
        return tuple(row[0] for row in sorted(rows, key=lambda row: int(row[1]))), {}
    return None, {}
