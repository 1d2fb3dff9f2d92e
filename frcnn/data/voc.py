"""PASCAL VOC: ``Annotations/*.xml``, ``JPEGImages`` and ``ImageSets/Main`` become a ``Dataset``.

Where these lie, ``voc_layout`` knows; which image belongs to which annotation, ``voc_pairing``; what an
annotation holds, ``voc_annotation``. A ``Sample`` has its image upright, whatever its boxes were drawn
on.
"""

import dataclasses
import math
import shlex
from pathlib import Path

import numpy as np

from frcnn.config import class_names
from frcnn.data import image_io, voc_annotation, voc_layout, voc_pairing
from frcnn.data.faults import Fault, apply_policy
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import ConfigError, DataError
from frcnn.text import did_you_mean, listed, shown

# Of an image. Every box is held against every anchor at once: a pyramid's 240,000 need 4 MB a box.
MAX_BOXES = 2000
# What to do about a class that is not among those asked for.
ADD_CLASS = "correct the class names, or add the missing ones to data.classes"


def read(root, split, year=None, classes=None, on_bad_data="error"):
    """Return the ``Dataset`` that ``collect`` finds, once its faults are settled.

    Args:
        root, split, year, classes: as for ``collect``.
        on_bad_data: ``"error"`` raises one error for all faults; ``"skip"`` skips the images
            that have one, and records them in ``Dataset.skipped``.

    Raises:
        DataError, ConfigError: as ``collect`` and ``faults.settle``.
    """
    return apply_policy([collect(root, split, year, classes)], on_bad_data)[0]


def collect(root, split, year=None, classes=None, advice=ADD_CLASS):
    """Read one split of a VOC data set, and all that is wrong with it.

    Args:
        root: the folder that holds ``VOCdevkit``, or ``VOCdevkit`` itself, or a bare VOC folder.
        split: the name of a file in ``ImageSets/Main``, without ``.txt``. Of a second column, as
            the files of a single class have it, nothing is used: all their images are read.
        year: ``"2007"``, ``"2012"`` or ``"07+12"``. None reads a bare folder, or where there is
            only a devkit, its 2007, else its 2012. With ``"07+12"`` the images are named
            ``VOC2007/<identifier>`` and ``VOC2012/<identifier>``; its ``test`` is that of 2007
            alone, as the annotations of 2012's test were never published.
        classes: the names of the classes, in the order of the labels. None takes the 20 official
            ones for a devkit, and for a bare folder the sorted names found in the split.
        advice: what to do about objects of other classes than ``classes``, for the report.

    Returns:
        dataset: ``Dataset`` of the images without a fault; those without any object are part of it.
        faults: list of ``Fault``: a broken annotation, or one with a box where none is expected; an
            image that is missing, not the only one to fit, listed twice, too large, cut off, cannot be
            opened or is of another size than declared; an unknown class; more than ``MAX_BOXES``
            objects; a box that is not numeric, inverted, one pixel thin, in shares of the image or
            reaches out of it by more than one pixel. Each is named with its file and line or the number
            of its box, counted from 1.

    Raises:
        DataError: no data at ``root``, no such split, or a split without images.
        ConfigError: ``year`` is none of the above, or ``classes`` are no names of classes.
    """
    try:
        folders, name, known = voc_layout.locate(Path(root), split, year)
        if classes is not None:
            known = _clean(classes)
        readers = [_Reader(folder, len(folders) > 1, known) for folder in folders]
        read = [(*one, reader) for reader in readers for one in reader.read(split)]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror or error}") from error
    found, faults = [], []
    for sample, names, its_faults, reader in read:
        if sample is not None and len(reader.users[sample.path]) > 1:
            sharing = " and ".join(f"{shown(user)}.xml" for user in reader.users[sample.path])
            its_faults = [Fault(sample.name, sample.path, f"is the only image that fits {sharing}")]
            sample = None
        faults += its_faults
        if sample is not None:
            found.append((sample, names))
    if known is None:
        known = tuple(sorted({class_name for _, names in found for class_name in names}))
    elif classes is None:
        advice = _ways_out(folders, set().union(*(reader.class_names for reader in readers)), year)
    faults = [
        dataclasses.replace(fault, advice=advice) if isinstance(fault, UnknownClass) else fault
        for fault in faults
    ]
    label = {class_name: index for index, class_name in enumerate(known)}
    samples = tuple(
        dataclasses.replace(sample, labels=np.array([label[n] for n in names], np.int32))
        for sample, names in found
    )
    return Dataset(name, known, samples), faults


class UnknownClass(Fault):
    """An object of a class that is not among those asked for."""


def _clean(classes):
    try:
        return class_names.clean_all(classes)
    except DataError as error:
        raise ConfigError(f"the classes asked for: {error}") from error


def _ways_out(folders, names, year):
    """Return what to do where a devkit has objects of other classes than VOC's own, given all it has."""
    # A comma separates names on the command line.
    few = len(names) <= 8 and not any("," in name for name in names)
    setting = shlex.quote(f"data.classes={','.join(sorted(names)) if few else 'NAME,NAME,...'}")
    text = (
        "this folder is laid out as the official devkit, so VOC's 20 classes are expected: for classes "
        f"of your own, name them all with --set {setting}"
    )
    if len(folders) == 1:
        alone = f"--data-dir {shlex.quote(str(folders[0]))}{' without --year' if year else ''}"
        text += f", or take those that are found with {alone}"
    return text


class _Reader:
    """Reads one VOC folder.

    Args:
        folder: its ``Path``.
        prefixed: images are named with the folder's name in front.
        classes: the known class names, or None.

    Attributes:
        class_names: set of the names of all objects so far, those with faults included.
        users: {path of an image: the identifiers whose image it is}.
    """

    def __init__(self, folder, prefixed, classes):
        self.folder = folder
        self.prefix = f"{folder.name}/" if prefixed else ""
        self.classes = classes
        self.known = None if classes is None else frozenset(classes)
        self.class_names = set()
        self.users = {}

    def read(self, split):
        """Yield what ``_read_image`` returns, for each image of a split."""
        path, lines = voc_layout.split_lines(self.folder, split)
        annotations = voc_layout.annotation_names(self.folder)
        files = voc_pairing.Files(annotations, voc_layout.image_names(self.folder))
        first_line = {}
        for number, identifier, advice in files.identifiers(lines):
            name, place = self.prefix + identifier, f"{path} line {number}"
            if identifier in first_line:
                again = f"{identifier!r} is listed before, in line {first_line[identifier]}"
                yield None, [], [Fault(name, place, again)]
            elif advice is not None:
                annotation = self.folder / "Annotations" / f"{shown(identifier)}.xml"
                yield None, [], [Fault(name, place, f"there is no {annotation}{advice}")]
            else:
                yield self._read_image(identifier, name, files)
            first_line.setdefault(identifier, number)

    def _read_image(self, identifier, name, files):
        """Read one annotation, and the size of its image.

        Args:
            identifier: of an annotation that is there.
            name: what to call the image in messages and in its ``Sample``.
            files: ``voc_pairing.Files`` of the folder.

        Returns:
            A ``Sample`` without labels, or None where there is a fault; the class name of each of its
            boxes; and the faults.
        """
        annotation = self.folder / "Annotations" / f"{identifier}.xml"
        try:
            root = voc_annotation.parse(annotation)
            filename = voc_annotation.text_of(root, "filename")
        except DataError as error:
            return None, [], [Fault(name, str(annotation), str(error))]
        faults = []
        path, header = self.folder / "JPEGImages" / identifier, None
        size = (math.inf, math.inf)  # boxes' other faults are worth finding all the same
        try:
            path = self.folder / "JPEGImages" / files.image_of(identifier, filename)
            self.users.setdefault(str(path), []).append(identifier)
            header = image_io.read_header(path)
            size = voc_annotation.labelled_size(root, header, path)
        except DataError as error:
            place = path if header is None else annotation
            faults.append(Fault(name, str(place), str(error)))

        boxes, names, difficult = [], [], []
        elements = root.findall("object")
        if len(elements) > MAX_BOXES:
            many = f"has {len(elements)} objects; the limit is {MAX_BOXES}"
            faults.append(Fault(name, str(annotation), many))
        for number, element in enumerate(elements, start=1):
            place = f"{annotation} box {number}"
            try:
                names.append(voc_annotation.read_name(element))
                self.class_names.add(names[-1])
                if self.known is not None and names[-1] not in self.known:
                    faults.append(UnknownClass(name, place, self._unknown(names[-1])))
                    continue
                box, is_difficult = voc_annotation.read_object(element, *size)
            except DataError as error:
                faults.append(Fault(name, place, str(error)))
                continue
            boxes.append(box)
            difficult.append(is_difficult)
        if faults:
            return None, [], faults
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        if size != header.upright:
            boxes = image_io.turn_boxes(boxes, header)
        labels, difficult = np.zeros(0, np.int32), np.array(difficult, bool)
        return Sample(name, str(path), *header.upright, boxes, labels, difficult), names, []

    def _unknown(self, class_name):
        hint = did_you_mean(class_name, self.classes) or f"; expected one of {listed(self.classes)}"
        return f"unknown class {shown(class_name)!r}{hint}"
