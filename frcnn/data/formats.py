"""The formats of labels: recognise the format of a folder, list its splits, and read a split.

``FORMATS`` is the table of the formats. Each entry is a module with ``recognise(tree)``,
``splits(tree)`` and ``read(tree, split, outlines)``. ``frcnn.data.voc`` reads VOC folders and devkits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from frcnn.data import coco, csv_boxes, cvat, dota, labelme, voc_flat, yolo
from frcnn.data.division import divide
from frcnn.data.faults import Fault
from frcnn.data.file_tree import FileTree
from frcnn.data.label_files import ALIASES, match_split
from frcnn.data.labels import Choice, LabelledSplit
from frcnn.data.sample import Dataset
from frcnn.data.to_dataset import to_dataset
from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

VALIDATION_SHARE = 0.2  # of the images, where a data set has no split for validation
# In the order in which a folder is looked at.
FORMATS: Mapping[str, ModuleType] = {
    module.NAME: module for module in (coco, cvat, yolo, csv_boxes, dota, labelme, voc_flat)
}


@dataclasses.dataclass
class Found:
    """A data set's folder and its format.

    Attributes:
        name: of the format, a key of ``FORMATS``.
        tree: the folder's files.
        source: the file by which the format was told.
    """

    name: str
    tree: FileTree
    source: str
    _parsed: dict[tuple[str | None, bool], LabelledSplit] = dataclasses.field(
        default_factory=dict, repr=False
    )

    @property
    def reader(self) -> ModuleType:
        """The module that reads the format."""
        return FORMATS[self.name]

    def parsed(self, split: str | None, outlines: bool = False) -> LabelledSplit:
        """Return the labels of one of the reader's splits. They are parsed once and kept.

        Args:
            split: one of the reader's splits.
            outlines: keep polygons.

        Raises:
            DataError: as the reader, or the split has no image.
        """
        key = split, outlines
        if key not in self._parsed:
            whole = self.reader.read(self.tree, split, outlines)
            if not whole.images:
                raise DataError(f"{whole.name}: {self.tree.path(self.source)} lists no image")
            self._parsed[key] = whole
        return self._parsed[key]

    def splits(self) -> tuple[str, str]:
        """Return the names of the splits to train on and to validate on.

        A data set without a split for validation is divided: see ``read``.
        """
        there = [split for split in self.reader.splits(self.tree) if split]
        if (train := match_split("trainval", there)) and (test := match_split("test", there)):
            return train, test
        train, val = match_split("train", there) or "train", match_split("val", there)
        return train, val or match_split("test", there) or "val"


def find(root: Path | str, name: str = "auto") -> Found | None:
    """Return the data set in a folder; None: it is in no format of ``FORMATS``.

    Args:
        root: the folder.
        name: name of the format; ``"auto"``: the first one that fits.

    Raises:
        ConfigError: there is no such format.
        DataError: the folder is not in this format.
    """
    if name not in ("auto", *FORMATS):
        known = ("auto", "voc", *FORMATS)
        raise ConfigError(
            f"data.format is {name!r}{did_you_mean(name, known)}; expected one of {', '.join(known)}"
        )
    tree = FileTree(root)
    for key, module in FORMATS.items():
        if name in ("auto", key) and (source := module.recognise(tree)):
            return Found(key, tree, source)
    if name != "auto":
        raise DataError(f"{root} holds no labels in the format {name}")
    return None


def collect(
    root: Path | str, split: str, choice: Choice | None = None, name: str = "auto"
) -> tuple[Dataset, list[Fault]]:
    """Read one split of a folder in any format of ``FORMATS``.

    Args:
        root: the data set's folder.
        split: its name; ``val`` finds ``valid`` and ``val2017`` too.
        choice: which classes, and whether boxes are clipped.
        name: of the format; ``"auto"``: whichever fits first.

    Returns:
        The ``Dataset`` of the images without a fault, and every ``Fault``.

    Raises:
        DataError: no labels are there, or no such split.
    """
    found = find(root, name)
    if found is None:
        raise DataError(f"{root} holds no labels in a known format ({', '.join(FORMATS)})")
    return to_dataset(read(found, split, outlines=bool(choice and choice.outlines)), choice)


def read(found: Found, split: str, divide: bool = True, outlines: bool = False) -> LabelledSplit:
    """Return the labels of a split.

    If a data set has no split for validation, ``train`` and ``val`` are made: a fifth of the images,
    chosen by a hash of their file names, is ``val``.

    Args:
        found: the data set.
        split: name of the split; ``all``: every image of a data set without splits.
        divide: False: the split as the data set has it.
        outlines: keep polygons.

    Raises:
        DataError: there is no such split.
    """
    there = found.reader.splits(found.tree)
    if split == "all" and None in there:
        return found.parsed(None, outlines)
    named = [name for name in there if name]
    own = match_split(split, named)
    is_val = split.lower() in ALIASES["val"]
    if own is not None and (
        not divide or split.lower() not in ALIASES["train"] or _has_validation(named)
    ):
        return found.parsed(own, outlines)
    source = own or match_split("train", named) or (None if None in there else "")
    divisible = is_val or split.lower() in ALIASES["train"]
    if source == "" or not divisible or (is_val and _has_validation(named)):
        names = listed(named) if named else "none; train and val are made of all images"
        raise DataError(
            f"{found.tree.root} ({found.name}) has no split {shown(split)}; the splits are: {names}"
            f"{did_you_mean(split, named)}"
        )
    return _divided(found.parsed(source, outlines), is_val, source)


def _has_validation(named: list[str]) -> bool:
    return any(match_split(word, named) for word in ("val", "test"))


def _divided(whole: LabelledSplit, is_val: bool, source: str | None) -> LabelledSplit:
    """Return the part of a split that training or validation gets."""
    places = divide([image.name for image in whole.images], {"val": VALIDATION_SHARE})
    parts = {
        split: [image for image, place in zip(whole.images, places) if place == split]
        for split in ("train", "val")
    }
    split = "val" if is_val else "train"
    if not parts[split]:
        raise DataError(
            f"{whole.name} has one image, and no split for validation: one image cannot be divided"
        )
    name = whole.name.rpartition(" ")[0]
    note = (
        f"there is no split for validation: {len(parts['val'])} of {len(whole.images)} images of "
        f"{source or 'all'}, chosen by the hash of their names, are val, the others train "
        f"(about {VALIDATION_SHARE:.0%})"
    )
    return dataclasses.replace(
        whole,
        name=f"{name} {split}",
        images=parts[split],
        notes=[*whole.notes, note],
        made=True,
    )
