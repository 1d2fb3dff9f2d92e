"""From a ``LabelledSplit`` of any format to a ``Dataset``, with every fault named.

It reads the images' headers, rotates boxes by the EXIF orientation, checks boxes and classes, and counts
and lists what is dropped.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm import tqdm

from frcnn.data import four_points, image_io, oriented
from frcnn.data.box_checks import check_box
from frcnn.data.faults import Fault, UnknownClass
from frcnn.data.labels import Choice, LabelledSplit, RawImage, RawObject
from frcnn.data.outlines import Outline
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import DataError
from frcnn.text import bar_options, did_you_mean, listed, shown

# Per image. Every box is compared with every anchor at once: 240,000 anchors need 4 MB per box.
MAX_BOXES = 2000
SHOW_PROGRESS_AFTER = 2.0  # seconds


def to_dataset(split: LabelledSplit, choice: Choice | None = None) -> tuple[Dataset, list[Fault]]:
    """Return the ``Dataset`` of the images without a fault, and every fault of the others.

    Args:
        split: what a reader found.
        choice: which classes, and whether boxes are clipped.
    """
    choice = choice or Choice()
    known = choice.classes
    if known is None and split.classes is not None:
        known = tuple(dict.fromkeys(map(choice.named, split.classes)))
    reader = _Reader(choice, known, split.min_side)
    found: list[tuple[Sample, list[str]]] = []
    users: dict[str, list[RawImage]] = {}
    for image in split.images:
        if image.path is not None:
            users.setdefault(image.path, []).append(image)
    faults = list(split.faults)
    progress = tqdm(
        split.images,
        f"reading {split.name}",
        unit="image",
        delay=SHOW_PROGRESS_AFTER,
        leave=False,
        **bar_options(),
    )
    for image in progress:
        shared = []
        if image.path is not None and len(own := users[image.path]) > 1:
            other = next(one for one in own if one is not image)
            what = "is listed twice" if other.name == image.name else f"is also {shown(other.name)}"
            shared = [(image.path, what)]
        sample, names, its_faults = reader.read(image, shared)
        faults += its_faults
        if sample is not None:
            found.append((sample, names))
    known, samples = with_labels(found, known)
    notes = (*split.notes, *look_alikes(set(known) | set(reader.dropped)))
    dropped = tuple(sorted(reader.dropped.items()))
    clipped = tuple(reader.clipped)
    dataset = Dataset(
        split.name, known, samples, (), dropped, clipped, notes, reader.outlines, split.made
    )
    return dataset, faults


def with_labels(
    found: Sequence[tuple[Sample, list[str]]], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
    """Turn the class names of objects into labels.

    Args:
        found: images without labels, each with the class names of its boxes.
        classes: class names in the order of the labels; None: the sorted names that occur.

    Returns:
        classes: the class names.
        samples: the images with their labels.
    """
    if classes is None:
        classes = tuple(sorted({name for _, names in found for name in names}))
    label = {name: index for index, name in enumerate(classes)}
    samples = tuple(
        dataclasses.replace(sample, labels=np.array([label[name] for name in names], np.int32))
        for sample, names in found
    )
    return classes, samples


def look_alikes(names: Iterable[str]) -> list[str]:
    """Return a sentence for each group of class names that differ only in case, blanks or signs.

    Example:
        >>> look_alikes(["Dog", "dog", "cat"])
        ["the classes 'Dog' and 'dog' look alike: data.rename makes them one"]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(re.sub(r"[\W_]+", "", name.casefold()) or name, []).append(name)
    return [
        f"the classes {' and '.join(repr(shown(name)) for name in group)} look alike: data.rename "
        "makes them one"
        for group in groups.values()
        if len(group) > 1
    ]


def misspelt(dataset: Dataset, choice: Choice) -> list[str]:
    """Return a sentence for each class to rename, or asked for, that no object has.

    One asked for is passed over unless a dropped class is named alike.
    """
    if not choice.rename and not (choice.only and dataset.dropped):
        return []
    found = {dataset.classes[label] for sample in dataset.samples for label in sample.labels}
    dropped = [name for name, _ in dataset.dropped]
    hints = {
        old: f" to rename{did_you_mean(old, sorted(found | set(dropped)), 0.6)}"
        for old, new in choice.rename.items()
        if new not in found and new not in dropped
    }
    if choice.only:
        asked = {name: did_you_mean(name, dropped, 0.6) for name in dataset.classes if name not in found}
        hints = {name: hint for name, hint in asked.items() if hint} | hints
    return [f"no object has the class {shown(name)!r}{hint}" for name, hint in hints.items()]


class _Reader:
    """Checks images, and counts the objects that it drops and clips."""

    def __init__(self, choice: Choice, known: tuple[str, ...] | None, min_side: float) -> None:
        self.choice = choice
        self.filter = ClassFilter(choice, known)
        self.min_side = min_side
        self.dropped: Counter[str] = Counter()
        self.clipped: list[tuple[str, str]] = []
        self.outlines = 0

    def read(
        self, image: RawImage, more: Sequence[tuple[str, str]]
    ) -> tuple[Sample | None, list[str], list[Fault]]:
        """Return a ``Sample`` without labels, its class names and its faults. With a fault it is None.

        Args:
            image: the image.
            more: (place, what) of further faults.
        """
        faults = [Fault(image.name, place, what) for place, what in (*image.faults, *more)]
        header, size = None, (math.inf, math.inf)  # the boxes' other faults are still found
        if image.path is not None:
            try:
                header = image_io.read_header(image.path)
                size = _labelled_size(image, header)
            except DataError as error:
                faults.append(Fault(image.name, image.path, str(error)))
        if len(image.objects) > MAX_BOXES:
            what = f"has {len(image.objects)} objects; the limit is {MAX_BOXES}"
            faults.append(Fault(image.name, image.path or image.name, what))
        corners: list[list[float]] = []
        names, flags, clipped = [], [], []
        dropped: list[str] = []
        outlines: list[Outline | None] = []
        four_corners: list[np.ndarray | None] = []
        for entry in image.objects:
            try:
                name = self._class_of(entry, dropped)
                if name is None:
                    continue
                points, what = None, ""
                if entry.corners is not None:
                    points = four_points.to_pixels(entry.corners, *size, image.shares)
                    box = four_points.outer(points, *size)
                else:
                    box, what = check_box(
                        entry.box,
                        *size,
                        shares=image.shares,
                        min_side=self.min_side,
                        clip=self.choice.clip,
                    )
            except UnknownName as error:
                place = image.where(entry)
                faults.append(UnknownClass(image.name, place, str(error), self.choice.advice))
                continue
            except DataError as error:
                faults.append(Fault(image.name, image.where(entry), str(error)))
                continue
            if what:
                clipped.append((image.name, f"{image.where(entry)}: {what}"))
            corners.append(box)
            names.append(name)
            flags.append((entry.difficult or entry.crowd, entry.crowd, entry.area))
            outlines.append(entry.outline)
            four_corners.append(points)
        if faults or header is None or image.path is None:
            return None, [], faults
        self.dropped.update(dropped)
        self.clipped += clipped
        self.outlines += sum(outline is not None for outline in outlines)
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        if size != header.upright:
            boxes = image_io.turn_boxes(boxes, header)
            outlines = [outline and outline.turned(header) for outline in outlines]
            four_corners = [
                None if points is None else Outline((points,)).turned(header).rings[0]
                for points in four_corners
            ]
        if image.shares:
            outlines = [outline and outline.scaled(*size) for outline in outlines]
        turned = _oriented(boxes, four_corners)
        if turned is not None and self.choice.outlines:
            outlines = [
                outline if points is None else four_points.outline(points, box)
                for outline, points, box in zip(outlines, four_corners, turned)
            ]
        difficult = np.array([flag[0] for flag in flags], bool)
        crowd = np.array([flag[1] for flag in flags], bool)
        area = None
        areas = [flag[2] for flag in flags]
        if areas.count(None) < len(areas):
            if None in areas:
                of_boxes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).tolist()
                areas = [own if given is None else given for own, given in zip(of_boxes, areas)]
            area = np.array(areas)
        sample = Sample(
            image.name,
            image.path,
            *header.upright,
            boxes,
            np.zeros(0, np.int32),
            difficult,
            crowd=crowd if crowd.any() else None,
            area=area,
            oriented=turned,
            outlines=tuple(outlines) if self.choice.outlines and any(outlines) else None,
        )
        return sample, names, []

    def _class_of(self, entry: RawObject, dropped: list[str]) -> str | None:
        """Return the class name of an object, None where it is dropped."""
        if entry.fault:
            raise DataError(entry.fault)
        name = self.choice.named(entry.name)
        if not name:
            raise DataError("has no class name")
        if self.filter.takes(name):
            return name
        dropped.append(name)
        return None


def _oriented(boxes: np.ndarray, corners: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the (G, 5) oriented boxes of an image, None if no object is given by four corners."""
    if all(points is None for points in corners):
        return None
    turned = oriented.from_axis_aligned(boxes)
    for row, points in enumerate(corners):
        if points is not None:
            turned[row] = four_points.least_rectangle(points)
    return turned


class UnknownName(DataError):
    """An object of a class that is not among those asked for."""


class ClassFilter:
    """Decides by an object's class whether the object is kept, dropped or a fault.

    Args:
        choice: whether objects of other classes are dropped.
        classes: the known class names; None: every class is known.
    """

    def __init__(self, choice: Choice, classes: Sequence[str] | None) -> None:
        self.drops_others = choice.only
        self.classes = classes or ()
        self.known = None if classes is None else frozenset(classes)

    def takes(self, name: str) -> bool:
        """Return whether objects of a class are taken. If not, they are dropped.

        Raises:
            UnknownName: the class is unknown, and the choice does not drop such objects.
        """
        if self.known is None or name in self.known:
            return True
        if self.drops_others:
            return False
        hint = did_you_mean(name, self.classes) or f"; expected one of {listed(self.classes)}"
        raise UnknownName(f"unknown class {shown(name)!r}{hint}")


def _labelled_size(image: RawImage, header: image_io.Header) -> tuple[float, float]:
    """Return the (width, height) of the orientation in which an image's boxes were drawn.

    It is the one whose size the label file declares; else the upright one, as viewers show it.

    Raises:
        DataError: the declared size is neither.
    """
    if image.shares:
        return header.upright
    for size in (header.upright, header.stored):
        if all(declared in (0, real) for declared, real in zip(image.size, size)):
            return size
    width, height = header.upright
    declared = "x".join(f"{number:g}" for number in image.size)
    raise DataError(f"has {width}x{height} pixels, but its label file declares {declared}")
