"""Label files of YOLO: per object a line ``class x y width height``, in fractions of the image's sides.

A line of a polygon, ``class x1 y1 x2 y2 x3 y3 ...``, becomes the box around it. If all lines of a split
have four corners, as YOLO-OBB's have, the objects are oriented boxes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from frcnn.data.box_checks import polygon_box
from frcnn.data.file_tree import FileTree, image_name
from frcnn.data.label_files import lines_of, number, split_of
from frcnn.data.labels import RawImage, RawObject
from frcnn.data.outlines import Outline, of_points
from frcnn.text import shown


class YoloLabels:
    """Finds and reads the label files of images.

    Args:
        tree: the data set's files.

    Attributes:
        missing: number of images so far that have no label file.
    """

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self.missing = 0
        self.by_stem: dict[str, list[str]] = {}
        for file in tree.with_ending(".txt"):
            stem = posixpath.splitext(posixpath.basename(file))[0]
            self.by_stem.setdefault(stem, []).append(file)

    def of(self, image: str) -> str | None:
        """Return the label file of an image; None if it has none."""
        stem = posixpath.splitext(image)[0]
        parts = stem.split("/")
        places = [
            "/".join([*parts[:index], "labels", *parts[index + 1 :]])
            for index in reversed(range(len(parts) - 1))
            if parts[index] == "images"
        ]
        for place in [*places, stem]:
            if self.tree.has(f"{place}.txt"):
                return f"{place}.txt"
        # Labels in a folder of their own, such as darknet's obj_train_data. Splits must agree.
        own = {split_of(part) for part in parts[:-1]} - {None}
        found = [
            file
            for file in self.by_stem.get(parts[-1], [])
            if not own
            or not (theirs := {split_of(part) for part in file.split("/")[:-1]} - {None})
            or own & theirs
        ]
        return found[0] if len(found) == 1 else None

    def read(
        self,
        file: str,
        missing: tuple[str, str] | str,
        classes: tuple[str, ...] | None,
        keypoints: bool,
        outlines: bool,
    ) -> RawImage:
        """Return an image with the objects of its label file.

        Args:
            file: the image, or its name if it is missing.
            missing: (place, fault) of a missing image; "" for an image that exists.
            classes: class names; None: the numbers serve as names.
            keypoints: whether lines hold keypoints after the box.
            outlines: keep polygons.
        """
        name = image_name(file)
        if isinstance(missing, tuple):
            return RawImage(name, None, [], "", faults=[missing])
        image = RawImage(name, self.tree.full(file), [], "", shares=True)
        label = self.of(file)
        if label is None:
            self.missing += 1
            return image
        path = self.tree.path(label)
        image.place = f"{path} line"
        for line, text in lines_of(image, path):
            image.objects.append(_object(line, text, classes, keypoints, outlines))
        return image


def are_oriented(images: Iterable[RawImage]) -> bool:
    """Return whether the labels of images are YOLO-OBB's: every object has four corners."""
    objects = [entry for image in images for entry in image.objects if not entry.fault]
    return bool(objects) and all(entry.corners is not None for entry in objects)


def mostly_corners(images: Iterable[RawImage]) -> list[str]:
    """Return a note about the first object that keeps labels from being YOLO-OBB's, if it is one of few.

    Args:
        images: the images of a split for which ``are_oriented`` is false.
    """
    places = [(image, entry) for image in images for entry in image.objects if not entry.fault]
    others = [(image, entry) for image, entry in places if entry.corners is None]
    if not 0 < 2 * len(others) < len(places):
        return []
    image, entry = others[0]
    return [
        f"{len(others)} of {len(places)} objects do not have four corners, the first in {image.place} "
        f"{entry.place}: so no object has an angle, all are read as polygons or boxes"
    ]


def without_corners(image: RawImage) -> None:
    """Take the four corners from the objects of an image: they are polygons among others."""
    image.objects = [entry._replace(corners=None) for entry in image.objects]


def _object(
    line: int, text: str, classes: tuple[str, ...] | None, keypoints: bool, outlines: bool
) -> RawObject:
    """Return the object of one line; ``RawObject.fault`` says what is wrong with the line."""
    first, *rest = text.split()
    values: list[float] = [number(field) for field in rest]

    def faulty(what: str) -> RawObject:
        return RawObject(line, "", (0, 0, 0, 0), fault=what)

    if any(value != value for value in values):
        return faulty(f"holds text where numbers are expected: {shown(text, 80)!r}")
    index = number(first)
    if not 0 <= index < 1e6 or index != int(index):
        return faulty(f"begins with {shown(first)!r}, expected the number of a class")
    if classes is not None and index >= len(classes):
        return faulty(f"has the class {int(index)}, but there are names for 0 to {len(classes) - 1}")
    name = classes[int(index)] if classes is not None else str(int(index))
    if len(values) == 4 or (keypoints and len(values) > 4):
        x, y, width, height = values[:4]
        if width < 0 or height < 0:
            return faulty(f"has a negative size: {shown(text, 80)!r}")
        return RawObject(line, name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    if len(values) >= 6 and len(values) % 2 == 0:
        pairs = list(zip(values[::2], values[1::2]))
        outline = of_points(pairs) if outlines else Outline()
        corners = pairs if len(pairs) == 4 else None
        return RawObject(line, name, polygon_box(pairs), outline=outline, corners=corners)
    return faulty(
        f"has {len(values)} numbers after the class, expected 4 (x, y, width, height) or the corners "
        "of a polygon"
    )
