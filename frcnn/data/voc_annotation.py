"""One VOC annotation: ``<annotation>`` with its ``<size>`` and ``<object>`` elements.

VOC counts pixels from 1 and its corners are inclusive. Both are undone here, once:
``[xmin - 1, ymin - 1, xmax, ymax]``, half-open. Many labelling tools write 0-based corners, or a
corner one past the last pixel; so a box may stick out of the image by one pixel, and is clipped.

An annotation is a stranger's file: it is parsed by defusedxml, and its declared image size serves for
a comparison with the real one. Messages name the fault; the caller puts the file in front.

A box that is not read would turn an object into background. So an element that holds a box where none is
expected is a fault; VOC's own ``<part>`` elements are the exception, whose boxes are not used.

An image may carry an EXIF orientation, and labelling tools differ in whether they heed it. Boxes refer
to the orientation whose size the annotation declares. Where that does not tell (no size is declared,
the image is square or upside down) they refer to the image as viewers show it.
"""

import math

from defusedxml import ElementTree

from frcnn.config import class_names
from frcnn.errors import DataError
from frcnn.files import untrusted
from frcnn.text import shown

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Elements of other tools, in lower case, that hold a box in another way.
OTHER_BOXES = ("robndbox", "bbox", "boundingbox", "bounding_box")


def parse(path):
    """Return the root element of an annotation."""
    try:
        root = ElementTree.fromstring(untrusted.read_bytes(path, untrusted.MAX_ANNOTATION_BYTES))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    # ParseError is a SyntaxError; defusedxml's refusals and unknown encodings are ValueErrors.
    except (SyntaxError, ValueError, LookupError) as error:
        raise DataError(f"cannot be read as XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"holds <{shown(root.tag)}>, expected <annotation>")
    for child in root:
        if child.tag != "object" and (holder := _box_in(child)) is not None:
            raise DataError(
                f"holds a box in <{shown(holder.tag)}> within <{shown(child.tag)}>, which is not read: "
                "each object belongs in an <object> of its own, directly in <annotation>"
            )
    return root


def _box_in(element):
    """Return the first element, this one or one within it, that holds a box; None without one."""
    if not len(element):  # most: it saves time
        return None
    for inner in element.iter():
        tag = inner.tag.rpartition("}")[2].lower()
        if tag in OTHER_BOXES or any(child.tag.rpartition("}")[2].lower() in CORNERS for child in inner):
            return inner
    return None


def text_of(element, tag):
    """Return the text of a child element without blanks around it, empty where there is no such child.

    Raises:
        DataError: there are several.
    """
    found = element.findall(tag)
    if len(found) > 1:
        raise DataError(f"has {len(found)} <{tag}>, expected one")
    return (found[0].text or "").strip() if found else ""


def labelled_size(root, header, path):
    """Return the (width, height) of the image in the orientation in which its boxes were drawn."""
    declared = [(root.findtext(f"size/{side}") or "").strip() or "0" for side in ("width", "height")]
    numbers = [_number(text) for text in declared]
    for size in (header.upright, header.stored):
        if all(number in (0, real) for number, real in zip(numbers, size)):  # some tools write 0
            return size
    width, height = header.upright
    raise DataError(f"declares {'x'.join(map(shown, declared))} pixels, but {path} has {width}x{height}")


def read_name(element):
    """Return an object's class name, in one line."""
    if name := class_names.clean(text_of(element, "name")):
        return name
    raise DataError("has no <name>")


def read_object(element, width, height):
    """Return an object's half-open box, and whether it is difficult."""
    difficult = text_of(element, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise DataError(f"<difficult> is {shown(difficult)!r}, expected 0 or 1")
    for child in element:
        if child.tag not in ("bndbox", "part") and (holder := _box_in(child)) is not None:
            raise DataError(
                f"holds a box in <{shown(holder.tag)}>, which is not read: expected one <bndbox>, "
                "directly in <object>"
            )
    return _read_box(element, width, height), difficult == "1"


def _read_box(element, width, height):
    """Return ``[x1, y1, x2, y2]``, half-open, within the image; its sides have a pixel or more."""
    boxes = element.findall("bndbox")
    if len(boxes) > 1:
        raise DataError(f"has {len(boxes)} <bndbox>, expected one: write an <object> for each")
    corners = []
    for corner in CORNERS:
        found = boxes[0].findall(corner) if boxes else []
        if not found:
            raise DataError(f"has no <{corner}>")
        if len(found) > 1:
            raise DataError(f"has {len(found)} <{corner}>, expected one")
        text = found[0].text or ""
        if not math.isfinite(_number(text)):
            raise DataError(f"<{corner}> is {shown(text)!r}, not a number")
        corners.append(_number(text))
    values = ", ".join(f"{name} {value:g}" for name, value in zip(CORNERS, corners, strict=True))
    xmin, ymin, xmax, ymax = corners
    # Inclusive corners that are equal span one pixel: a slip of the mouse, no object.
    if xmax <= xmin or ymax <= ymin:
        raise DataError(f"is inverted or at most one pixel thin: {values}")
    # In pixels, such a box would have at most one, at the image's upper left.
    if min(corners) >= 0 and max(corners) <= 1:
        raise DataError(f"corners look like shares of the image, VOC wants pixels: {values}")
    sticks_out = max(1 - xmin, 1 - ymin, xmax - width, ymax - height)
    x1, y1, x2, y2 = max(xmin - 1, 0), max(ymin - 1, 0), min(xmax, width), min(ymax, height)
    if sticks_out > 1 or min(x2 - x1, y2 - y1) < 1:
        raise DataError(f"reaches out of the {width}x{height} image: {values}")
    return [x1, y1, x2, y2]


def _number(text):
    """Return the number that a text holds, NaN if it holds none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
