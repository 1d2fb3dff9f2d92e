"""One VOC annotation: ``<annotation>`` with its ``<size>`` and ``<object>`` elements.

VOC counts pixels from 1 and its corners are inclusive. Both are undone here, once:
``[xmin - 1, ymin - 1, xmax, ymax]``, half-open. Many labelling tools write 0-based corners, or a
corner one past the last pixel; so a box may stick out of the image by one pixel, and is clipped.

An annotation is a stranger's file: it is parsed by defusedxml, and its declared image size serves for
a comparison with the real one. Messages name the fault; the caller puts the file in front.

An image may carry an EXIF orientation, and labelling tools differ in whether they heed it. Boxes refer
to the orientation whose size the annotation declares. Where that does not tell (no size is declared,
the image is square or upside down) they refer to the image as viewers show it.
"""

import math

from defusedxml import ElementTree

from frcnn.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def labelled_size(root, header, path):
    """Return the (width, height) of the image in the orientation in which its boxes were drawn."""
    declared = [(root.findtext(f"size/{side}") or "").strip() or "0" for side in ("width", "height")]
    numbers = [_number(text) for text in declared]
    for size in (header.upright, header.stored):
        if all(number in (0, real) for number, real in zip(numbers, size)):  # some tools write 0
            return size
    width, height = header.upright
    raise DataError(
        f"declares {'x'.join(map(_shown, declared))} pixels, but {path} has {width}x{height}"
    )


def parse(path):
    """Return the root element of an annotation."""
    try:
        root = ElementTree.parse(path).getroot()
    # ParseError is a SyntaxError; defusedxml's refusals and unknown encodings are ValueErrors.
    except (SyntaxError, ValueError, LookupError, OSError) as error:
        raise DataError(f"cannot be read as XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"holds <{_shown(root.tag)}>, expected <annotation>")
    return root


def read_object(element, width, height, classes):
    """Return an object's class name, its half-open box, and whether it is difficult."""
    class_name = (element.findtext("name") or "").strip()
    if not class_name:
        raise DataError("has no <name>")
    if classes is not None and class_name not in classes:
        raise DataError(f"unknown class {_shown(class_name)!r}; expected one of {', '.join(classes)}")
    difficult = (element.findtext("difficult") or "").strip() or "0"
    if difficult not in ("0", "1"):
        raise DataError(f"<difficult> is {_shown(difficult)!r}, expected 0 or 1")
    return class_name, _read_box(element, width, height), difficult == "1"


def _read_box(element, width, height):
    """Return ``[x1, y1, x2, y2]``, half-open, within the image; its sides have a pixel or more."""
    corners = []
    for corner in CORNERS:
        text = element.findtext(f"bndbox/{corner}")
        if text is None:
            raise DataError(f"has no <{corner}>")
        if not math.isfinite(_number(text)):
            raise DataError(f"<{corner}> is {_shown(text)!r}, not a number")
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


def _shown(text, most=60):
    """Return a stranger's text, cut to a length that leaves a message readable."""
    return text if len(text) <= most else f"{text[:most]}..."
