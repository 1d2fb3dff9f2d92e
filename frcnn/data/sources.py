"""One interface to folders of labelled images in any format: list the splits, and read a split.

``frcnn train``, ``evaluate``, ``inspect`` and ``convert`` read their data through ``open_source``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from frcnn.data import formats, gc_pause, label_cache, voc, voc_layout
from frcnn.data.faults import Fault
from frcnn.data.labels import Choice
from frcnn.data.sample import Dataset
from frcnn.data.to_dataset import misspelt, to_dataset
from frcnn.errors import DataError


@dataclasses.dataclass
class Source:
    """A folder of labelled images.

    Attributes:
        root: the folder.
        year: of a VOC devkit; None: as ``voc.collect`` has it.
        found: files and format; None: VOC's folders.
    """

    root: Path
    year: str | None = None
    found: formats.Found | None = None

    @property
    def format(self) -> str:
        """Name of the format, a value of the setting ``data.format``."""
        return self.found.name if self.found else "voc"

    def splits(self) -> list[str | None]:
        """Return the names of all splits; None for images that are in no split.

        Raises:
            DataError: a file that names the splits cannot be read.
        """
        if self.found:
            return self.found.reader.splits(self.found.tree)
        folders, _, _ = voc_layout.find_folders(self.root, "", self.year)
        names = {split for folder in folders for split in voc_layout.splits(folder)}
        return [*sorted(names)]

    def collect(self, split: str, choice: Choice, divide: bool = True) -> tuple[Dataset, list[Fault]]:
        """Return the ``Dataset`` of the images without a fault, and every fault of the others.

        Args:
            split: name of the split; ``all``: every image of a folder without splits.
            choice: which classes to read, and whether to clip boxes.
            divide: if there is no split for validation, make one from the images that are there
                (``formats.read``). False: ``split`` is one of ``splits()``, or ``all``.

        Raises:
            DataError: no such split, or labels that cannot be read at all.
        """
        rename = sorted(choice.rename.items())
        asked = (choice.classes, choice.only, rename, choice.clip, choice.advice)
        place = (str(self.root), os.path.realpath(self.root), self.format, self.year)
        with gc_pause.paused():
            if choice.outlines:
                dataset, faults = self._read(split, choice, divide)
            else:
                dataset, faults = label_cache.remember(
                    (*place, split, divide, *asked),
                    lambda: self._files(split),
                    lambda: self._read(split, choice, divide),
                )
        notes = (*dataset.notes, *misspelt(dataset, choice))
        return dataclasses.replace(dataset, notes=notes), faults

    def _read(self, split: str, choice: Choice, divide: bool) -> tuple[Dataset, list[Fault]]:
        if self.found:
            return to_dataset(formats.read(self.found, split, divide, choice.outlines), choice)
        return voc.collect(self.root, split, self.year, choice)

    def _files(self, split: str) -> Iterator[str]:
        """Yield the paths of all files that the labels depend on."""
        if self.found:
            yield from map(self.found.tree.full, self.found.tree.files)
            return
        try:
            folders, _, _ = voc_layout.find_folders(self.root, split, self.year)
        except (OSError, DataError):
            return  # the reader says what is wrong
        for folder in folders:
            for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
                part = folder / name
                yield from sorted(map(str, part.iterdir())) if part.is_dir() else ()


def open_source(root: Path | str, format: str = "auto", year: str | None = None) -> Source:
    """Return the ``Source`` in a folder.

    A folder in no known format is read as VOC, because the error of that reader says what is missing.

    Args:
        root: the folder.
        format: ``"voc"``, a key of ``formats.FORMATS``, or ``"auto"``: whichever fits first.
        year: of a VOC devkit.

    Raises:
        ConfigError: there is no such format.
        DataError: the folder is not in the format that is asked for, or cannot be read.

    Example:
        >>> open_source("my_images").splits()  # doctest: +SKIP
        ['train', 'val']
    """
    root = Path(root)
    try:
        if format == "voc" or (format == "auto" and (voc_layout.is_voc_data(root) or not root.is_dir())):
            return Source(root, year)
        return Source(root, year, formats.find(root, format))
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error.strerror or error}") from error
