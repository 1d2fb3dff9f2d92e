"""Read one VOC annotation: ``<annotation>`` with its ``<size>`` and ``<object>`` elements.

- VOC's corners are 1-based and inclusive. They become ``[xmin - 1, ymin - 1, xmax, ymax]``, half-open.
  Many labelling tools write 0-based corners, or a corner one past the last pixel. So a box may reach out
  of the image by one pixel, and is clipped.
- An annotation is an untrusted file. It is parsed by defusedxml, and its declared image size is compared
  with the real one. Messages name the fault; the caller puts the file's name before it.
- A box that is not read would turn an object into background. So a box in an unexpected element is a
  fault, except in VOC's ``<part>`` elements, which are ignored.
- An image may have an EXIF orientation, which some labelling tools apply and others ignore. Boxes refer
  to the orientation whose size the annotation declares. If that is undecided (no size is declared, the
  image is square or upside down), they refer to the upright image.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree.ElementTree import Element

from frcnn.config import class_names
from frcnn.data.box_checks import fit
from frcnn.data.image_io import Header
from frcnn.data.label_files import number, parse_xml
from frcnn.data.outlines import Outline, of_points
from frcnn.errors import DataError
from frcnn.files import untrusted
from frcnn.text import shown

CORNERS = ("xmin", "ymin", "xmax", "ymax")
# Elements of other tools, in lower case, that hold a box.
OTHER_BOXES = ("robndbox", "bbox", "boundingbox", "bounding_box")
# Of roLabelImg's <robndbox>: centre, sides, and angle in radians, clockwise.
ORIENTED = ("cx", "cy", "w", "h", "angle")


def parse(path: Path) -> Element:
    """Return the root element of an annotation.

    Raises:
        DataError: the file cannot be read, is not an annotation, or holds a box outside an ``<object>``.
    """
    root = parse_xml(path, untrusted.MAX_ANNOTATION_BYTES)
    if root.tag != "annotation":
        raise DataError(f"holds <{shown(root.tag)}>, expected <annotation>")
    for child in root:
        if child.tag != "object" and (holder := _box_in(child)) is not None:
            raise DataError(
                f"holds a box in <{shown(holder.tag)}> within <{shown(child.tag)}>, which is not read: "
                "each object belongs in an <object> of its own, directly in <annotation>"
            )
    return root


def _box_in(element: Element) -> Element | None:
    """Return the first element that holds a box, out of this one and those within it; else None."""
    if not len(element):  # true for most: saves time
        return None
    for inner in element.iter():
        tag = inner.tag.rpartition("}")[2].lower()
        if tag in OTHER_BOXES or any(child.tag.rpartition("}")[2].lower() in CORNERS for child in inner):
            return inner
    return None


def text_of(element: Element, tag: str) -> str:
    """Return the stripped text of a child element, empty if there is no such child.

    Raises:
        DataError: there are several such children.
    """
    found = element.findall(tag)
    if len(found) > 1:
        raise DataError(f"has {len(found)} <{tag}>, expected one")
    return (found[0].text or "").strip() if found else ""


def labelled_size(root: Element, header: Header, path: Path) -> tuple[int, int]:
    """Return the (width, height) of the image in the orientation that its boxes refer to.

    Args:
        root: the annotation.
        header: of the image file.
        path: the image file, for the message.

    Raises:
        DataError: the annotation declares another size than the image has.
    """
    declared = [(root.findtext(f"size/{side}") or "").strip() or "0" for side in ("width", "height")]
    numbers = [_number(text) for text in declared]
    for size in (header.upright, header.stored):
        if all(number in (0, real) for number, real in zip(numbers, size)):  # some tools write 0
            return size
    width, height = header.upright
    raise DataError(f"declares {'x'.join(map(shown, declared))} pixels, but {path} has {width}x{height}")


def read_name(element: Element) -> str:
    """Return an object's class name in one line.

    Raises:
        DataError: there is none, or it cannot be used.
    """
    if name := class_names.clean(text_of(element, "name")):
        return name
    raise DataError("has no <name>")


def read_object(
    element: Element, width: float, height: float, clip: bool = False
) -> tuple[list[float], bool, str]:
    """Return an object's box, whether it is difficult, and what was clipped.

    Args:
        element: the ``<object>``.
        width, height: of the image, pixels; infinite if unknown.
        clip: clip a box that reaches out of the image by a little (``fit``).

    Returns:
        box: ``[x1, y1, x2, y2]``, half-open, clipped to the image; its sides have at least one pixel.
        is_difficult: whether ``<difficult>`` is 1.
        clipped: what was cut off; "" if that is no more than a pixel.

    Raises:
        DataError: the box or ``<difficult>`` is missing or invalid.
    """
    is_difficult = read_difficult(element)
    xmin, ymin, xmax, ymax = corners = read_corners(element)
    values = ", ".join(f"{name} {value:g}" for name, value in zip(CORNERS, corners, strict=True))
    box, is_cut = fit(xmin - 1, ymin - 1, xmax, ymax, width, height, clip)
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 1:
        raise DataError(f"reaches out of the {width}x{height} image: {values}")
    return box, is_difficult, f"clipped to the {width}x{height} image: {values}" if is_cut else ""


def read_oriented(element: Element, width: float, height: float) -> list[float] | None:
    """Return ``[cx, cy, w, h, angle]`` of an object's ``<robndbox>``, as roLabelImg writes it.

    Args:
        element: the ``<object>``.
        width, height: of the image, pixels; infinite if unknown.

    Returns:
        Pixels and radians; None if the object has no ``<robndbox>``.

    Raises:
        DataError: it has several, or another box as well; a number is missing or no number; a side is
            shorter than a pixel; or the centre lies outside the image.
    """
    found = element.findall("robndbox")
    if not found:
        return None
    if len(found) > 1 or element.find("bndbox") is not None:
        raise DataError("has several boxes, expected one <robndbox> or one <bndbox>")
    texts = [text_of(found[0], tag) for tag in ORIENTED]
    box = [_number(text) for text in texts]
    values = ", ".join(f"{tag} {shown(text) or 'missing'}" for tag, text in zip(ORIENTED, texts))
    if not all(map(math.isfinite, box)):
        raise DataError(f"<robndbox> is not five numbers: {values}")
    if min(box[2:4]) < 1:
        raise DataError(f"<robndbox> is less than a pixel wide or high: {values}")
    if not (0 <= box[0] <= width and 0 <= box[1] <= height):
        raise DataError(f"<robndbox> has its centre outside the {width}x{height} image: {values}")
    return box


def read_difficult(element: Element) -> bool:
    """Return whether an object is difficult.

    Raises:
        DataError: ``<difficult>`` is neither 0 nor 1.
    """
    difficult = text_of(element, "difficult") or "0"
    if difficult not in ("0", "1"):
        raise DataError(f"<difficult> is {shown(difficult)!r}, expected 0 or 1")
    return difficult == "1"


def read_corners(element: Element) -> list[float]:
    """Return xmin, ymin, xmax and ymax of an object, as its ``<bndbox>`` says them.

    Raises:
        DataError: the box is missing, in another element, inverted, or no box in pixels.
    """
    for child in element:
        if child.tag not in ("bndbox", "part") and (holder := _box_in(child)) is not None:
            raise DataError(
                f"holds a box in <{shown(holder.tag)}>, which is not read: expected one <bndbox>, "
                "directly in <object>"
            )
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
    # Equal inclusive corners span one pixel: a slip of the mouse, not an object.
    if xmax <= xmin or ymax <= ymin:
        raise DataError(f"is inverted or at most one pixel thin: {values}")
    # In pixels, such a box would cover at most the first one.
    if min(corners) >= 0 and max(corners) <= 1:
        raise DataError(f"corners look relative to the image's size, VOC has pixels: {values}")
    return corners


def read_polygon(element: Element) -> list[tuple[float, float]]:
    """Return the corners of an object's ``<polygon>``, pixels counted from 0.

    They are ``<x1>``, ``<y1>``, ``<x2>``, ... (Roboflow) or ``<pt><x><y>`` (LabelMe).

    Raises:
        DataError: there are less than three.
    """
    polygon = element.find("polygon")
    points: list[tuple[float, float]] = []
    if polygon is not None:
        for point in polygon.iter("pt"):
            points.append((number(point.findtext("x") or ""), number(point.findtext("y") or "")))
        at = 1
        while polygon.find(f"x{at}") is not None:
            points.append((number(polygon.findtext(f"x{at}")), number(polygon.findtext(f"y{at}") or "")))
            at += 1
    if len(points) < 3:
        raise DataError(f"has a <polygon> of {len(points)} points, expected 3 or more")
    return points


def read_outline(element: Element, corners: bool = True) -> Outline | None:
    """Return the ``Outline`` of an object's ``<polygon>``, None if it has none.

    Args:
        element: the ``<object>``.
        corners: keep the polygon's corners; of a broken polygon beside a box there are none.
    """
    if element.find("polygon") is None:
        return None
    if not corners:
        return Outline()
    try:
        return of_points(read_polygon(element))
    except DataError:
        return Outline()


def _number(text: str) -> float:
    """Return a text as a number, NaN if it is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan
