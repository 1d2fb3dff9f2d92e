"""PASCAL VOC: ``Annotations/*.xml``, ``JPEGImages`` and ``ImageSets/Main`` become a ``Dataset``.

Two layouts are read: the official devkit (``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``) with its 20
classes, and a bare folder of the same make with any classes, which is what most labelling tools
write.

What an annotation holds, ``voc_annotation`` reads. No name in one, nor in a split file, leads out of the
data set. A ``Sample`` has its image upright, whatever its boxes were drawn on.
"""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np

from frcnn.data import image_files, voc_annotation
from frcnn.data.dataset import Dataset, Sample
from frcnn.data.faults import Fault, settle
from frcnn.errors import ConfigError, DataError

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)
YEARS = {"2007": ("2007",), "2012": ("2012",), "07+12": ("2007", "2012")}

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# Of an image. Every box is held against every anchor at once: a pyramid's 240,000 need 4 MB a box.
MAX_BOXES = 2000


def read(root, split, year=None, classes=None, on_bad_data="error"):
    """Return the ``Dataset`` that ``collect`` finds, once its faults are settled.

    Args:
        root, split, year, classes: as for ``collect``.
        on_bad_data: ``"error"`` raises one error for all faults; ``"skip"`` leaves out the images
            that have one, and records them in ``Dataset.skipped``.

    Raises:
        DataError, ConfigError: as ``collect`` and ``faults.settle``.
    """
    return settle([collect(root, split, year, classes)], on_bad_data)[0]


def collect(root, split, year=None, classes=None):
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

    Returns:
        dataset: ``Dataset`` of the images without a fault; those without any object are part of it.
        faults: list of ``Fault``: a broken annotation; an image that is missing, listed twice, too
            large, cut off, cannot be opened or is of another size than declared; an unknown class;
            more than ``MAX_BOXES`` objects; a box that is not numeric, inverted, one pixel thin or
            reaches out of the image by more than one pixel. Each is named with its file and line or
            the number of its box, counted from 1.

    Raises:
        DataError: no data at ``root``, no such split, or a split without images.
        ConfigError: ``year`` is none of the above.
    """
    folders, name, known = _locate(Path(root), split, year)
    classes = known if classes is None else tuple(classes)
    found, faults = [], []
    for folder in folders:
        prefix = f"{folder.name}/" if len(folders) > 1 else ""
        for sample, class_names, its_faults in _read_folder(folder, split, prefix, classes):
            faults += its_faults
            if sample is not None:
                found.append((sample, class_names))
    if classes is None:
        classes = tuple(sorted({class_name for _, names in found for class_name in names}))
    label = {class_name: index for index, class_name in enumerate(classes)}
    samples = tuple(
        dataclasses.replace(sample, labels=np.array([label[n] for n in class_names], np.int32))
        for sample, class_names in found
    )
    return Dataset(name, classes, samples), faults


def _locate(root, split, year):
    """Return the VOC folders to read, the data set's name, and its classes (None: any)."""
    if year is None and _is_voc(root):
        return [root], f"{root.resolve().name} {split}", None
    if year is None:
        year = "2012" if _devkit(root, "2012") and not _devkit(root, "2007") else "2007"
    if str(year) not in YEARS:
        raise ConfigError(f"year is {year!r}; expected one of {', '.join(YEARS)}")
    years = YEARS[str(year)]
    if split == "test" and "2007" in years:
        years = ("2007",)
    missing = [year for year in years if _devkit(root, year) is None]
    if missing and _is_voc(root):
        raise DataError(f"{root} is a VOC folder of its own, not a devkit: leave out the year")
    if missing:
        command = " ".join(["python scripts/download.py", *(f"voc{year}" for year in missing)])
        parent = root.parent if root.name == "VOCdevkit" else root
        raise DataError(
            f"no VOC{' and no VOC'.join(missing)} in {root}: fetch it with `{command}"
            + (f" --data-dir {parent}`" if parent != Path("data") else "`")
            + ", or name a folder that holds Annotations, JPEGImages and ImageSets/Main"
        )
    which = "07+12" if len(years) > 1 else years[0]
    return [_devkit(root, year) for year in years], f"voc{which} {split}", VOC_CLASSES


def _is_voc(folder):
    return (folder / "Annotations").is_dir()


def _devkit(root, year):
    """Return the folder of one year, or None where there is none."""
    folders = [root / "VOCdevkit" / f"VOC{year}", root / f"VOC{year}"]
    if root.name == f"VOC{year}":
        folders.append(root)
    return next((folder for folder in folders if _is_voc(folder)), None)


def _read_folder(folder, split, prefix, classes):
    """Yield what ``_read_image`` returns, for each image of a split of one VOC folder.

    Files are looked up in the folders' listings and never by a path made from what a split file or
    an annotation says, so that no name in them can lead out of the data set.
    """
    annotations = set(os.listdir(folder / "Annotations"))
    images = os.listdir(folder / "JPEGImages") if (folder / "JPEGImages").is_dir() else []
    # Also by lower-case name, for another case of letters; an exact name goes before.
    images = {image.lower(): image for image in sorted(images)} | {image: image for image in images}

    lists = folder / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not path.is_file():
        raise DataError(f"{path} does not exist; the splits there are: {_splits(lists)}")
    first_line = {}
    # Undecodable bytes become names that are not in the folder, and so are reported as such.
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines(), start=1):
        identifier = _identifier(line, annotations)
        if not identifier:
            continue
        name, place = prefix + identifier, f"{path} line {number}"
        if identifier in first_line:
            again = f"{identifier!r} is listed before, in line {first_line[identifier]}"
            yield None, [], [Fault(name, place, again)]
        elif f"{identifier}.xml" not in annotations:
            missing = f"there is no {folder / 'Annotations' / identifier}.xml"
            yield None, [], [Fault(name, place, missing)]
        else:
            yield _read_image(folder, identifier, name, images, classes)
        first_line.setdefault(identifier, number)
    if not first_line:
        raise DataError(f"{path} lists no image")


def _splits(lists):
    """Return the names of the splits, without the 20 lists of single classes of each."""
    splits = sorted(path.stem for path in lists.glob("*.txt"))
    splits = [name for name in splits if name.rpartition("_")[0] not in VOC_CLASSES]
    return ", ".join(splits) or "none"


def _identifier(line, annotations):
    """Return the image that a line of a split file names, without a -1, 0 or 1 behind it."""
    line = line.strip()
    columns = line.rsplit(maxsplit=1)
    # An identifier may hold blanks, and may even end in " 1".
    if len(columns) == 2 and columns[1] in ("-1", "0", "1") and f"{line}.xml" not in annotations:
        return columns[0]
    return line


def _read_image(folder, identifier, name, images, classes):
    """Read one annotation, and the size of its image.

    Args:
        folder: the VOC folder.
        identifier: of an annotation that is there.
        name: what to call the image in messages and in its ``Sample``.
        images: from the names of the image files, also in lower case, to their names.
        classes: the known class names, or None.

    Returns:
        A ``Sample`` without labels, or None where there is a fault; the class name of each of its
        boxes; and the faults.
    """
    annotation = folder / "Annotations" / f"{identifier}.xml"
    try:
        root = voc_annotation.parse(annotation)
    except DataError as error:
        return None, [], [Fault(name, str(annotation), str(error))]
    faults = []
    image = _find_image(identifier, root.findtext("filename") or "", images)
    path = folder / "JPEGImages" / (image or identifier)
    header, size = None, (math.inf, math.inf)  # boxes' other faults are worth finding all the same
    try:
        if image is None:
            raise DataError(f"there is no image (tried {', '.join(EXTENSIONS)} and <filename>)")
        header = image_files.read_header(path)
        size = voc_annotation.labelled_size(root, header, path)
    except DataError as error:
        place = path if header is None else annotation
        faults.append(Fault(name, str(place), str(error)))

    objects = []
    elements = root.findall("object")
    if len(elements) > MAX_BOXES:
        faults.append(
            Fault(name, str(annotation), f"has {len(elements)} objects; the limit is {MAX_BOXES}")
        )
    for number, element in enumerate(elements, start=1):
        try:
            objects.append(voc_annotation.read_object(element, *size, classes))
        except DataError as error:
            faults.append(Fault(name, f"{annotation} box {number}", str(error)))
    if faults:
        return None, [], faults
    boxes = np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4)
    if size != header.upright:
        boxes = image_files.turn_boxes(boxes, header)
    difficult = np.array([flag for _, _, flag in objects], bool)
    sample = Sample(name, str(path), *header.upright, boxes, np.zeros(0, np.int32), difficult)
    return sample, [class_name for class_name, _, _ in objects], []


def _find_image(identifier, filename, images):
    """Return the name of an image file: the identifier's, else ``<filename>``'s last part."""
    by_identifier = [identifier + extension for extension in EXTENSIONS]
    by_filename = filename.strip().replace("\\", "/").rpartition("/")[2]
    for name in (*by_identifier, by_filename):
        if image := images.get(name) or images.get(name.lower()):
            return image
    return None
