"""The content of label files before it is checked, in the same types for all formats.

Each reader returns a ``LabelledSplit``: the labels in its files, with their places in the files.
``frcnn.data.to_dataset`` does what is the same for all formats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from frcnn.config import class_names
from frcnn.data.box_checks import MIN_SIDE
from frcnn.data.faults import Fault
from frcnn.data.outlines import Outline
from frcnn.errors import ConfigError, DataError

# What to do about a class that is not among those asked for.
ADD_CLASS = "correct the class names, or add the missing ones to data.classes"


class RawObject(NamedTuple):
    """One labelled object, as it is in its file.

    Attributes:
        place: number of the object within its image or file.
        name: class name.
        box: x1, y1, x2, y2; half-open pixels, or shares of the image (``RawImage.shares``).
        difficult: not trained on, and ignored by VOC AP.
        crowd: a group of objects, as ``iscrowd`` of COCO; never trained on.
        area: of the object's mask, square pixels; None: the box's area.
        fault: what the reader found wrong with the object; "" without a fault.
        outline: the polygon or mask that the file has; training uses the box around it. It has corners
            only if the reader is asked to keep them, in the units of ``box``.
        corners: x and y of the four corners of an oriented box, in order, in the units of ``box``; then
            ``box`` is not used. None: the object has no angle.
    """

    place: int
    name: str
    box: Sequence[float]
    difficult: bool = False
    crowd: bool = False
    area: float | None = None
    fault: str = ""
    outline: Outline | None = None
    corners: Sequence[Sequence[float]] | None = None


@dataclasses.dataclass(slots=True)
class RawImage:
    """One image and its objects, as they are in their files.

    Attributes:
        name: identifier in messages and in ``Sample.name``.
        path: image file; None: it was not found, and ``fault`` says so.
        objects: list of ``RawObject``.
        place: text before ``RawObject.place`` in messages, such as ``FILE box`` or
            ``FILE: annotations[``.
        size: (width, height) in the label file, pixels; 0 if the file has none.
        shares: boxes are in fractions of the upright image's width and height, not in pixels.
        faults: (place, description) of each fault that the reader found.
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
    """One split of a data set, as it is in its files.

    Attributes:
        name: data set and split, for messages.
        images: list of ``RawImage``, in the order of the split.
        classes: declared class names in the order of the labels; None: the sorted names that occur.
        faults: list of ``Fault`` that belong to no image.
        notes: sentences for the user, such as how many images have no label file.
        min_side: smallest side of a box, pixels.
        made: the split was made by a hash of the images' names, because the data set has none.
    """

    name: str
    images: list[RawImage]
    classes: tuple[str, ...] | None = None
    faults: list[Fault] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    min_side: float = MIN_SIDE
    made: bool = False


@dataclasses.dataclass(frozen=True)
class Choice:
    """The user's choice of classes, boxes and outlines.

    Attributes:
        classes: names in the order of the labels; None: those that the data set has.
        only: objects of other classes are dropped and counted; False: they are faults.
        rename: {old name: new name}, applied first.
        clip: boxes that lose at most ``MAX_CLIPPED`` of their area are clipped to the image.
        advice: what to do about an unknown class, for the report.
        outlines: polygons are kept in ``Sample.outlines``.
    """

    classes: tuple[str, ...] | None = None
    only: bool = False
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clip: bool = False
    advice: str = ADD_CLASS
    outlines: bool = False

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
