"""Read PASCAL VOC (``Annotations/*.xml``, ``JPEGImages``, ``ImageSets/Main``) into a ``Dataset``.

``voc_layout`` finds the folders and files, ``voc_pairing`` the image of each annotation, and
``voc_annotation`` reads an annotation. A ``Sample`` and its boxes refer to the upright image, even where
the boxes were drawn on the image as stored.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from frcnn.data import image_io, oriented, voc_annotation, voc_layout, voc_pairing
from frcnn.data.faults import Fault, UnknownClass, apply_policy
from frcnn.data.labels import Choice
from frcnn.data.outlines import Outline
from frcnn.data.sample import Dataset, Sample
from frcnn.data.to_dataset import MAX_BOXES, ClassFilter, UnknownName, look_alikes, with_labels
from frcnn.errors import DataError
from frcnn.text import shown


def read(
    root: Path | str,
    split: str,
    year: str | None = None,
    classes: Sequence[str] | None = None,
    on_bad_data: str = "error",
) -> Dataset:
    """Read one split of a VOC data set.

    Args:
        root, split, year: as for ``collect``.
        classes: as ``Choice`` has them.
        on_bad_data: ``"error"`` raises one error for all faults; ``"skip"`` skips images with a fault
            and records them in ``Dataset.skipped``.

    Raises:
        DataError, ConfigError: as ``collect`` and ``faults.apply_policy``.

    Example:
        >>> read("data", "trainval", year="2007").summary()  # doctest: +SKIP
    """
    choice = Choice(None if classes is None else tuple(classes))
    return apply_policy([collect(root, split, year, choice)], on_bad_data)[0]


def collect(
    root: Path | str,
    split: str,
    year: str | None = None,
    choice: Choice | None = None,
) -> tuple[Dataset, list[Fault]]:
    """Read one split of a VOC data set and collect its faults.

    Args:
        root: the folder that holds ``VOCdevkit``, or ``VOCdevkit`` itself, or a bare VOC folder.
        split: the name of a file in ``ImageSets/Main``, without ``.txt``. The second column of a
            single-class file is ignored: all its images are read.
        year: ``"2007"``, ``"2012"`` or ``"07+12"``. None reads a bare folder; in a devkit it reads 2007,
            or 2012 if there is no 2007. With ``"07+12"`` images are named ``VOC2007/<identifier>`` and
            ``VOC2012/<identifier>``; its ``test`` is that of 2007 alone, because the annotations of
            2012's test were never published.
        choice: which classes, and whether boxes are clipped. No classes stand for the 20 official
            ones in a devkit, and for the sorted names found in the split in a bare folder.

    Returns:
        dataset: the images without a fault; images without objects are included.
        faults: broken annotations, and annotations with a box in a place that is not read; images that
            are missing, ambiguous, listed twice, too large, cut off, unreadable or not of the declared
            size; unknown classes; more than ``MAX_BOXES`` objects; boxes that are not numeric, inverted,
            one pixel thin, relative to the image's size, or more than one pixel outside the image. Each
            fault names its file and its line or box number, counted from 1.

    Raises:
        DataError: no data at ``root``, no such split, or a split without images.
        ConfigError: ``year`` is none of the above.
    """
    asked = choice or Choice()
    try:
        folders, name, official = voc_layout.find_folders(Path(root), split, year)
        known = official if asked.classes is None else asked.classes
        choice = dataclasses.replace(asked, classes=known)
        readers = [_Reader(folder, len(folders) > 1, choice) for folder in folders]
        read = [(*one, reader) for reader in readers for one in reader.read(split)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    found: list[tuple[Sample, list[str]]] = []
    faults: list[Fault] = []
    for sample, names, its_faults, reader in read:
        if sample is not None and len(reader.users[sample.path]) > 1:
            sharing = " and ".join(f"{shown(user)}.xml" for user in reader.users[sample.path])
            its_faults = [Fault(sample.name, sample.path, f"is the only image that fits {sharing}")]
            sample = None
        faults += its_faults
        if sample is not None:
            found.append((sample, names))
    known, samples = with_labels(found, known)
    advice = asked.advice
    if official is not None and asked.classes is None:
        advice = _devkit_advice(folders, set().union(*(reader.class_names for reader in readers)), year)
    faults = [
        dataclasses.replace(fault, advice=advice) if isinstance(fault, UnknownClass) else fault
        for fault in faults
    ]
    dropped = sum((reader.dropped for reader in readers), Counter())
    clipped = tuple(entry for reader in readers for entry in reader.clipped)
    notes = tuple(look_alikes(set(known) | set(dropped)))
    return Dataset(name, known, samples, (), tuple(sorted(dropped.items())), clipped, notes), faults


def _devkit_advice(folders: list[Path], names: set[str], year: str | None) -> str:
    """Return what to do about a devkit whose objects have other classes than VOC's 20.

    Args:
        folders: the VOC folders that were read.
        names: all class names in them.
        year: as for ``collect``.
    """
    # A comma separates names on the command line.
    few = len(names) <= 8 and not any("," in name for name in names)
    setting = shlex.quote(f"data.classes={','.join(sorted(names)) if few else 'NAME,NAME,...'}")
    text = (
        "this folder has the layout of the official devkit, so VOC's 20 classes are expected: for "
        f"classes of your own, name them all with --set {setting}"
    )
    if len(folders) == 1:
        alone = f"--data-dir {shlex.quote(str(folders[0]))}{' without --year' if year else ''}"
        text += f", or take those that are found with {alone}"
    return text


class _Reader:
    """Read one VOC folder.

    Args:
        folder: the VOC folder.
        prefixed: whether images' names begin with the folder's name.
        choice: the known class names (None: any), and what else is asked for.

    Attributes:
        class_names: class names of all objects so far, faulty ones included.
        users: {path of an image: identifiers of the annotations that use it}.
    """

    def __init__(self, folder: Path, prefixed: bool, choice: Choice):
        self.folder = folder
        self.prefix = f"{folder.name}/" if prefixed else ""
        self.choice = choice
        self.filter = ClassFilter(choice, choice.classes)
        self.dropped: Counter[str] = Counter()
        self.clipped: list[tuple[str, str]] = []
        self.class_names: set[str] = set()
        self.users: dict[str, list[str]] = {}

    def read(self, split: str) -> Iterator[tuple[Sample | None, list[str], list[Fault]]]:
        """Yield the result of ``_read_image`` for each image of a split."""
        path, lines = voc_layout.split_lines(self.folder, split)
        annotations = voc_layout.annotation_names(self.folder)
        files = voc_pairing.VocFiles(annotations, voc_layout.image_names(self.folder))
        first_line: dict[str, int] = {}
        for number, identifier, advice in files.identifiers(lines):
            name, where = self.prefix + identifier, f"{path} line {number}"
            if identifier in first_line:
                again = f"{shown(identifier)!r} is listed before, in line {first_line[identifier]}"
                yield None, [], [Fault(name, where, again)]
            elif advice is not None:
                annotation = self.folder / "Annotations" / f"{shown(identifier)}.xml"
                yield None, [], [Fault(name, where, f"there is no {annotation}{advice}")]
            else:
                yield self._read_image(identifier, name, files)
            first_line.setdefault(identifier, number)

    def _read_image(
        self, identifier: str, name: str, files: voc_pairing.VocFiles
    ) -> tuple[Sample | None, list[str], list[Fault]]:
        """Read one annotation, and the header of its image.

        Args:
            identifier: of an annotation that exists.
            name: the image's name in messages and in its ``Sample``.
            files: the files of the folder.

        Returns:
            sample: ``Sample`` without labels; None if there is a fault.
            names: class name of each of its boxes.
            faults: of the annotation and its image.
        """
        annotation = self.folder / "Annotations" / f"{identifier}.xml"
        try:
            root = voc_annotation.parse(annotation)
            filename = voc_annotation.text_of(root, "filename")
        except DataError as error:
            return None, [], [Fault(name, str(annotation), str(error))]
        faults = []
        path, header = self.folder / "JPEGImages" / identifier, None
        size = (math.inf, math.inf)  # finds the boxes' other faults if the image has one
        try:
            path = self.folder / "JPEGImages" / files.image_of(identifier, filename)
            self.users.setdefault(str(path), []).append(identifier)
            header = image_io.read_header(path)
            size = voc_annotation.labelled_size(root, header, path)
        except DataError as error:
            file = path if header is None else annotation
            faults.append(Fault(name, str(file), str(error)))

        corners: list[list[float]] = []
        oriented_boxes: list[list[float] | None] = []
        outlines: list[Outline | None] = []
        names, difficult, dropped, clipped = [], [], [], []
        elements = root.findall("object")
        if len(elements) > MAX_BOXES:
            many = f"has {len(elements)} objects; the limit is {MAX_BOXES}"
            faults.append(Fault(name, str(annotation), many))
        for number, element in enumerate(elements, start=1):
            where = f"{annotation} box {number}"
            try:
                class_name = self.choice.named(voc_annotation.read_name(element))
                self.class_names.add(class_name)
                if not self.filter.takes(class_name):
                    dropped.append(class_name)
                    continue
                turned = voc_annotation.read_oriented(element, *size)
                if turned:
                    box, cut = _around(turned, *size), ""
                    is_difficult = voc_annotation.read_difficult(element)
                else:
                    box, is_difficult, cut = voc_annotation.read_object(element, *size, self.choice.clip)
            except UnknownName as error:
                faults.append(UnknownClass(name, where, str(error)))
                continue
            except DataError as error:
                faults.append(Fault(name, where, str(error)))
                continue
            corners.append(box)
            oriented_boxes.append(turned)
            if self.choice.outlines:
                outlines.append(voc_annotation.read_outline(element))
            names.append(class_name)
            difficult.append(is_difficult)
            if cut:
                clipped.append((name, f"{where}: {cut}"))
        if faults or header is None:
            return None, [], faults
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        self.dropped.update(dropped)
        self.clipped += clipped
        turned_boxes = _oriented(boxes, oriented_boxes)
        if size != header.upright:
            if turned_boxes is not None:
                what = f"has <robndbox>, which is not read with an image that EXIF turns: {path}"
                return None, [], [Fault(name, str(annotation), what)]
            boxes = image_io.turn_boxes(boxes, header)
            outlines = [outline and outline.turned(header) for outline in outlines]
        width, height = header.upright
        none, flags = np.zeros(0, np.int32), np.array(difficult, bool)
        sample = Sample(
            name,
            str(path),
            width,
            height,
            boxes,
            none,
            flags,
            oriented=turned_boxes,
            outlines=tuple(outlines) if any(outlines) else None,
        )
        return sample, names, []


def _around(box: list[float], width: float, height: float) -> list[float]:
    """Return the smallest axis-aligned box around an oriented one, clipped to the image."""
    x1, y1, x2, y2 = oriented.outer(np.array(box)).tolist()
    return [max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)]


def _oriented(boxes: np.ndarray, turned: list[list[float] | None]) -> np.ndarray | None:
    """Return the (G, 5) oriented boxes of an image, None if none of its objects has an angle."""
    if not any(turned):
        return None
    straight = oriented.from_axis_aligned(boxes)
    return np.array([own or box for own, box in zip(turned, straight.tolist())], np.float32)
