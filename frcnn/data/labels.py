"""From the labels of any format to a ``Dataset``, with every fault named.

Each reader returns a ``LabelledSplit``: what its files say, with their places in them. ``to_dataset``
does what all formats share: it opens the images' headers, turns boxes with the image's EXIF
orientation, checks boxes and classes, and keeps a record of whatever it does not take.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from frcnn.config import class_names
from frcnn.data import image_io
from frcnn.data.faults import Fault, UnknownClass
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

# Per image. Every box is compared with every anchor at once: 240,000 anchors need 4 MB per box.
MAX_BOXES = 2000
# What to do about a class that is not among those asked for.
ADD_CLASS = "correct the class names, or add the missing ones to data.classes"
TOLERANCE = 1.0  # pixels that a box may reach out of the image; exporters round
MIN_SIDE = 1.0  # pixels
MAX_CLIPPED = 0.25  # share of its area that a box may lose by --on-bad-data clip
SHOW_PROGRESS_AFTER = 2.0  # seconds


class RawObject(NamedTuple):
    """One labelled object as its file says it.

    Attributes:
        place: number of the object within its image or file.
        name: class name.
        box: x1, y1, x2, y2; half-open pixels, or shares of the image (``RawImage.shares``).
        difficult: not trained on, and ignored by VOC AP.
        crowd: a group of objects, as ``iscrowd`` of COCO; never trained on.
        area: of the object's mask, square pixels; None: the box's area.
        fault: what the reader found wrong with the object; "" without a fault.
    """

    place: int
    name: str
    box: Sequence[float]
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    fault: str = ""


@dataclasses.dataclass(slots=True)
class RawImage:
    """One image and its objects as their files say it.

    Attributes:
        name: identifier in messages and in ``Sample.name``.
        path: image file; None: it was not found, and ``fault`` says so.
        objects: list of ``RawObject``.
        place: what comes before ``RawObject.place`` in messages: ``FILE box``, ``FILE: annotations[``.
        size: declared (width, height), pixels; 0 where it is not declared.
        shares: boxes are shares of the upright image's width and height.
        faults: (place, what) that the reader found.
    """

    name: str
    path: str | None
    objects: list[RawObject]
    place: str
    size: tuple[float, float] = (0, 0)
    shares: bool = False
    faults: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def where(self, entry: RawObject) -> str:
        """Return the place of an object, for messages."""
        return (
            f"{self.place}{entry.place}]" if self.place.endswith("[") else f"{self.place} {entry.place}"
        )


@dataclasses.dataclass
class LabelledSplit:
    """One split of a data set as its files say it.

    Attributes:
        name: data set and split, for messages.
        images: list of ``RawImage``, in the order of the split.
        classes: declared class names in the order of the labels; None: the sorted names that occur.
        faults: list of ``Fault`` that belong to no image.
        notes: sentences for the user, such as how many images have no label file.
        min_side: pixels that a box's sides must have.
    """

    name: str
    images: list[RawImage]
    classes: tuple[str, ...] | None = None
    faults: list[Fault] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    min_side: float = MIN_SIDE


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the user wants of the labels.

    Attributes:
        classes: names in the order of the labels; None: those that the data set has.
        only: objects of other classes are dropped and counted; False: they are faults.
        rename: {old name: new name}, applied first.
        clip: boxes that lose at most ``MAX_CLIPPED`` of their area are clipped to the image.
        advice: what to do about an unknown class, for the report.
    """

    classes: tuple[str, ...] | None = None
    only: bool = False
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clip: bool = False
    advice: str = ADD_CLASS

    def __post_init__(self) -> None:
        try:
            if self.classes is not None:
                object.__setattr__(self, "classes", class_names.clean_all(self.classes))
            cleaned = {
                class_names.clean(old): class_names.clean(new) for old, new in self.rename.items()
            }
        except DataError as error:
            raise ConfigError(f"the classes asked for: {error}") from error
        object.__setattr__(self, "rename", cleaned)

    def named(self, name: str) -> str:
        """Return the class name of an object in one line, renamed; raises DataError as ``clean``."""
        name = class_names.clean(name)
        return self.rename.get(name, name)


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
        split.images, f"reading {split.name}", unit="image", delay=SHOW_PROGRESS_AFTER, leave=False
    )
    for image in progress:
        if image.path is not None and len(own := users[image.path]) > 1:
            other = next(one for one in own if one is not image)
            what = "is listed twice" if other.name == image.name else f"is also {shown(other.name)}"
            image.faults.append((image.path, what))
        sample, names, its_faults = reader.read(image)
        faults += its_faults
        if sample is not None:
            found.append((sample, names))
    if known is None:
        known = tuple(sorted({name for _, names in found for name in names}))
    label = {name: index for index, name in enumerate(known)}
    samples = tuple(
        dataclasses.replace(sample, labels=np.array([label[name] for name in names], np.int32))
        for sample, names in found
    )
    notes = (*split.notes, *look_alikes(set(known) | set(reader.dropped)))
    dropped = tuple(sorted(reader.dropped.items()))
    return Dataset(split.name, known, samples, (), dropped, tuple(reader.clipped), notes), faults


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


class _Reader:
    """Checks images; keeps the counts of what it drops and clips."""

    def __init__(self, choice: Choice, known: tuple[str, ...] | None, min_side: float) -> None:
        self.choice = choice
        self.known = known
        self.known_set = None if known is None else frozenset(known)
        self.min_side = min_side
        self.dropped: Counter[str] = Counter()
        self.clipped: list[tuple[str, str]] = []

    def read(self, image: RawImage) -> tuple[Sample | None, list[str], list[Fault]]:
        """Return a ``Sample`` without labels (None: there is a fault), its class names, its faults."""
        faults = [Fault(image.name, place, what) for place, what in image.faults]
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
        boxes, names, flags, clipped = [], [], [], []
        dropped: list[str] = []
        for entry in image.objects:
            try:
                name = self._class_of(entry, dropped)
                if name is None:
                    continue
                box, what = check_box(
                    entry.box, *size, shares=image.shares, min_side=self.min_side, clip=self.choice.clip
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
            boxes.append(box)
            names.append(name)
            flags.append((entry.difficult or entry.crowd, entry.crowd, entry.area))
        if faults or header is None:
            return None, [], faults
        self.dropped.update(dropped)
        self.clipped += clipped
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        if size != header.upright:
            boxes = image_io.turn_boxes(boxes, header)
        difficult = np.array([flag[0] for flag in flags], bool)
        crowd = np.array([flag[1] for flag in flags], bool)
        area = None
        if any(flag[2] is not None for flag in flags):
            of_boxes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).tolist()
            area = np.array([own if flag[2] is None else flag[2] for own, flag in zip(of_boxes, flags)])
        sample = Sample(
            image.name,
            image.path,
            *header.upright,
            boxes,
            np.zeros(0, np.int32),
            difficult,
            crowd=crowd if crowd.any() else None,
            area=area,
        )
        return sample, names, []

    def _class_of(self, entry: RawObject, dropped: list[str]) -> str | None:
        """Return the class name of an object, None where it is dropped."""
        if entry.fault:
            raise DataError(entry.fault)
        name = self.choice.named(entry.name)
        if not name:
            raise DataError("has no class name")
        if self.known_set is None or name in self.known_set:
            return name
        if self.choice.only:
            dropped.append(name)
            return None
        raise UnknownName(unknown_class(name, self.known))


class UnknownName(DataError):
    """An object of a class that is not among those asked for."""


def unknown_class(name: str, known: Sequence[str]) -> str:
    """Return the message for an object of another class than the known ones."""
    hint = did_you_mean(name, known) or f"; expected one of {listed(known)}"
    return f"unknown class {shown(name)!r}{hint}"


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


def check_box(
    box: Sequence[float],
    width: float,
    height: float,
    shares: bool = False,
    min_side: float = MIN_SIDE,
    clip: bool = False,
) -> tuple[list[float], str]:
    """Return a box in pixels within the image, and what was clipped ("": nothing worth saying).

    Args:
        box: x1, y1, x2, y2, half-open.
        width, height: of the image, pixels; infinite where it is not known.
        shares: the corners are shares of the image, 0 to 1.
        min_side: pixels that the sides must have.
        clip: clip a box that loses at most ``MAX_CLIPPED`` of its area.

    Raises:
        DataError: the corners are no numbers; the box is inverted or too thin; it is in shares where
            pixels are expected, or the other way round; it reaches out of the image.

    Example:
        >>> check_box([-0.5, 2, 10, 12], 40, 30)
        ([0.0, 2.0, 10.0, 12.0], '')
    """
    try:
        x1, y1, x2, y2 = corners = [float(value) for value in box]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"has the corners {shown(list(box))}; expected four numbers") from error
    if not all(map(math.isfinite, corners)):
        raise DataError(f"has the corners {corners}; expected four numbers")
    text = f"x1 {x1:g}, y1 {y1:g}, x2 {x2:g}, y2 {y2:g}"
    if shares:
        if max(corners) > 2 or min(corners) < -1:
            raise DataError(f"is not in shares of the image, 0 to 1: {text}")
        if math.isfinite(width):
            # Six digits of a share, as tools write, mean no more than a thousandth of a pixel.
            x1, y1 = round(x1 * width, 3), round(y1 * height, 3)
            x2, y2 = round(x2 * width, 3), round(y2 * height, 3)
        else:
            min_side = 0
    elif 0 <= min(corners) and max(corners) <= 1:
        # In pixels, such a box would have at most one, at the image's upper left.
        raise DataError(f"has corners that look like shares of the image; expected pixels: {text}")
    if x2 - x1 < max(min_side, 1e-6) or y2 - y1 < max(min_side, 1e-6):
        thin = f", or less than {min_side:g} pixel thin" if min_side else ""
        raise DataError(f"is inverted or empty{thin}: {text}")
    if 0 <= x1 and 0 <= y1 and x2 <= width and y2 <= height:
        return [x1, y1, x2, y2], ""
    inside, what = fit(x1, y1, x2, y2, width, height, clip)
    if inside is None or min(inside[2] - inside[0], inside[3] - inside[1]) < min_side:
        raise DataError(f"reaches out of the {width}x{height} image: {text}")
    return inside, f"clipped to the {width}x{height} image: {text}" if what else ""


def fit(
    x1: float, y1: float, x2: float, y2: float, width: float, height: float, clip: bool
) -> tuple[list[float] | None, bool]:
    """Return a box clipped to the image, and whether it lost more than ``TOLERANCE`` pixels.

    Returns None for a box that reaches out too far: by more than the tolerance without ``clip``, by
    more than ``MAX_CLIPPED`` of its area with it.
    """
    inside = [max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))]
    if max(-x1, -y1, x2 - width, y2 - height) <= TOLERANCE:
        return inside, False
    kept = max(inside[2] - inside[0], 0.0) * max(inside[3] - inside[1], 0.0)
    if clip and kept >= (1 - MAX_CLIPPED) * (x2 - x1) * (y2 - y1):
        return inside, True
    return None, False


def polygon_box(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    """Return the smallest box around points; NaN where a point is none.

    Example:
        >>> polygon_box([(1, 5), (4, 2), (3, 9)])
        (1, 2, 4, 9)
    """
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    if any(value != value for value in (*xs, *ys)):  # min() would skip it
        return (math.nan,) * 4
    return min(xs), min(ys), max(xs), max(ys)
