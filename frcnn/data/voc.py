"""PASCAL VOC: ``Annotations/*.xml``, ``JPEGImages`` and ``ImageSets/Main`` become a ``Dataset``.

Two layouts are read: the official devkit (``VOCdevkit/VOC2007``, ``VOCdevkit/VOC2012``) with its 20
classes, and a bare folder of the same make with any classes, which is what most labelling tools
write.

VOC counts pixels from 1 and its corners are inclusive. Both are undone here, once:
``[xmin - 1, ymin - 1, xmax, ymax]``, half-open. Many labelling tools write 0-based corners, or a
corner one past the last pixel; so a box may stick out of the image by one pixel, and is clipped.

An annotation is a stranger's file: it is parsed by defusedxml, names no path outside the data set,
and its declared image size serves for a comparison with the real one. Pixels are those stored in
the file; an EXIF rotation is not applied, here or when the image is decoded.
"""

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
from defusedxml import ElementTree
from PIL import Image

from frcnn.data.dataset import Dataset, Sample
from frcnn.data.faults import Fault, settle
from frcnn.errors import ConfigError, DataError

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)
YEARS = {"2007": ("2007",), "2012": ("2012",), "07+12": ("2007", "2012")}

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")  # by content: a PNG may be named .jpg
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read(root, split, year=None, classes=None, on_bad_data="error"):
    """Read one split of a VOC data set.

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
        on_bad_data: ``"error"`` raises one error for all faults; ``"skip"`` leaves out the images
            that have one, and records them in ``Dataset.skipped``.

    Returns:
        A ``Dataset``; images without any object are part of it.

    Raises:
        DataError: no data at ``root``, no such split, a split without images, or faults: a broken
            annotation, an image that is missing, cannot be opened or is of another size than
            declared, an unknown class, or a box that is not numeric, inverted, one pixel thin or
            reaches out of the image by more than one pixel. Every fault is named with its file and
            the number of its box, counted from 1.
        ConfigError: ``year`` or ``on_bad_data`` is none of the above.
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
    skipped = settle(name, faults, on_bad_data)
    if not found:
        raise DataError(f"{name}: every image has a fault; the first is {faults[0]}")
    if classes is None:
        classes = tuple(sorted({class_name for _, names in found for class_name in names}))
    label = {class_name: index for index, class_name in enumerate(classes)}
    samples = tuple(
        dataclasses.replace(sample, labels=np.array([label[n] for n in class_names], np.int32))
        for sample, class_names in found
    )
    return Dataset(name, classes, samples, skipped)


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
        root = _parse(annotation)
    except DataError as error:
        return None, [], [Fault(name, str(annotation), str(error))]
    faults = []
    image = _find_image(identifier, root.findtext("filename") or "", images)
    path = folder / "JPEGImages" / (image or identifier)
    try:
        width, height = _stored_size(path)
    except DataError as error:
        faults.append(Fault(name, str(path), str(error)))
        width = height = math.inf  # the boxes' other faults are worth finding all the same
    else:
        for side, real in (("width", width), ("height", height)):
            declared = (root.findtext(f"size/{side}") or "").strip() or "0"
            if _number(declared) not in (0, real):  # some tools write 0
                what = f"declares a {side} of {declared}, but {path} is {width}x{height}"
                faults.append(Fault(name, str(annotation), what))

    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        try:
            objects.append(_read_object(element, width, height, classes))
        except DataError as error:
            faults.append(Fault(name, f"{annotation} box {number}", str(error)))
    if faults:
        return None, [], faults
    boxes = np.array([box for _, box, _ in objects], np.float32).reshape(-1, 4)
    difficult = np.array([flag for _, _, flag in objects], bool)
    sample = Sample(name, str(path), width, height, boxes, np.zeros(0, np.int32), difficult)
    return sample, [class_name for class_name, _, _ in objects], []


def _parse(path):
    """Return the root element of an annotation."""
    try:
        root = ElementTree.parse(path).getroot()
    # ParseError is a SyntaxError; defusedxml's refusals and unknown encodings are ValueErrors.
    except (SyntaxError, ValueError, LookupError, OSError) as error:
        raise DataError(f"cannot be read as XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"holds <{root.tag}>, expected <annotation>")
    return root


def _find_image(identifier, filename, images):
    """Return the name of an image file: the identifier's, else ``<filename>``'s last part."""
    by_identifier = [identifier + extension for extension in EXTENSIONS]
    by_filename = filename.strip().replace("\\", "/").rpartition("/")[2]
    for name in (*by_identifier, by_filename):
        if image := images.get(name) or images.get(name.lower()):
            return image
    return None


def _stored_size(path):
    """Return an image's width and height in pixels, from its header alone."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except FileNotFoundError as error:
        raise DataError(f"there is no image (tried {', '.join(EXTENSIONS)})") from error
    except Exception as error:  # whatever a broken header makes Pillow's readers raise
        raise DataError(f"cannot be opened as an image: {error}") from error
    if width < 1 or height < 1:
        raise DataError(f"is an image of {width}x{height} pixels")
    return width, height


def _read_object(element, width, height, classes):
    """Return an object's class name, its half-open box, and whether it is difficult."""
    class_name = (element.findtext("name") or "").strip()
    if not class_name:
        raise DataError("has no <name>")
    if classes is not None and class_name not in classes:
        raise DataError(f"unknown class {class_name!r}; expected one of {', '.join(classes)}")
    difficult = (element.findtext("difficult") or "").strip() or "0"
    if difficult not in ("0", "1"):
        raise DataError(f"<difficult> is {difficult!r}, expected 0 or 1")
    return class_name, _read_box(element, width, height), difficult == "1"


def _read_box(element, width, height):
    """Return ``[x1, y1, x2, y2]``, half-open, within the image; its sides have a pixel or more."""
    corners = []
    for corner in CORNERS:
        text = element.findtext(f"bndbox/{corner}")
        if text is None:
            raise DataError(f"has no <{corner}>")
        if not math.isfinite(_number(text)):
            raise DataError(f"<{corner}> is {text!r}, not a number")
        corners.append(_number(text))
    shown = ", ".join(f"{name} {value:g}" for name, value in zip(CORNERS, corners, strict=True))
    xmin, ymin, xmax, ymax = corners
    # Inclusive corners that are equal span one pixel: a slip of the mouse, no object.
    if xmax <= xmin or ymax <= ymin:
        raise DataError(f"is inverted or at most one pixel thin: {shown}")
    sticks_out = max(1 - xmin, 1 - ymin, xmax - width, ymax - height)
    x1, y1, x2, y2 = max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height)
    if sticks_out > 1 or min(x2 - x1, y2 - y1) < 1:
        raise DataError(f"reaches out of the {width}x{height} image: {shown}")
    return [x1, y1, x2, y2]


def _number(text):
    """Return the number that a text holds, NaN if it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
