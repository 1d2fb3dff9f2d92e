"""Write VOC annotations (XML): of one image, or a VOC folder with lists of its splits.

VOC's corners are 1-based and inclusive: a half-open box ``[x1, y1, x2, y2]`` becomes
``x1 + 1, y1 + 1, x2, y2``, which ``frcnn.data.voc_annotation`` turns back. Corners keep three digits
after the point, as detections are not in whole pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

import numpy as np

from frcnn.data.converted import Converted, angles_of, outlines_of, stem
from frcnn.data.outlines import Outline

STORES = frozenset({"difficult", "empty", "polygon", "box of polygon", "oriented"})
MIN_SIDE = 1.001  # equal inclusive corners would be read as a slip of the mouse
SPLITS = None  # any name
ROBNDBOX = ("cx", "cy", "w", "h", "angle")
# What XML 1.0 cannot hold, even escaped: control characters and halves of surrogate pairs.
NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"JPEGImages/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label files of a data set."""
    for split, images in data.splits.items():
        yield f"ImageSets/Main/{split}.txt", "".join(f"{stem(image.file)}\n" for image in images)
        for file, sample in images:
            names = [data.classes[label] for label in sample.labels]
            yield (
                f"Annotations/{stem(file)}.xml",
                annotation(
                    file,
                    sample.width,
                    sample.height,
                    sample.boxes,
                    names,
                    sample.difficult.tolist(),
                    outlines=outlines_of(sample),
                    oriented=angles_of(sample),
                ),
            )


def annotation(
    file_name: str,
    width: int,
    height: int,
    boxes: np.ndarray,
    names: Sequence[str],
    difficult: Sequence[bool] | None = None,
    scores: Sequence[float] | None = None,
    outlines: Sequence[Outline | None] | None = None,
    oriented: Sequence[np.ndarray | None] | None = None,
) -> str:
    """Return the text of an image's annotation.

    Args:
        file_name: of the image, without its folder.
        width, height: of the upright image, pixels.
        boxes: (G, 4) half-open boxes in pixels of the upright image.
        names: class name per box; any text, which is escaped.
        difficult: per box; None: no box is.
        scores: per box, written as ``<score>``, which VOC does not define; None: of ground truth.
        outlines: per box its polygon, written beside it as Roboflow writes it, corners counted from 0.
        oriented: per box its oriented box (5,), None if it has no angle. It is written in the place of
            the box, as roLabelImg's ``<robndbox>``.

    Returns:
        XML, which is to be written as UTF-8.

    Example:
        >>> "<xmin>11</xmin>" in annotation("a.jpg", 40, 30, [[10, 5, 20, 15]], ["cat"])
        True
    """
    root = ElementTree.Element("annotation")
    _add(root, "filename", file_name)
    size = ElementTree.SubElement(root, "size")
    for side, pixels in (("width", width), ("height", height), ("depth", 3)):
        _add(size, side, str(pixels))
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    for index, ((x1, y1, x2, y2), name) in enumerate(zip(boxes.tolist(), names, strict=True)):
        entry = ElementTree.SubElement(root, "object")
        _add(entry, "name", name)
        _add(entry, "difficult", str(int(difficult is not None and bool(difficult[index]))))
        if scores is not None:
            _add(entry, "score", f"{scores[index]:.6g}")
        turned = None if oriented is None else oriented[index]
        if turned is None:
            corners = ElementTree.SubElement(entry, "bndbox")
            inclusive = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
            for corner, value in inclusive.items():
                _add(corners, corner, f"{value:.3f}".rstrip("0").rstrip("."))
        else:
            _add(entry, "type", "robndbox")
            corners = ElementTree.SubElement(entry, "robndbox")
            for part, value in zip(ROBNDBOX, turned.tolist(), strict=True):
                _add(corners, part, f"{value:.6f}".rstrip("0").rstrip("."))
        if outlines is not None and (outline := outlines[index]) is not None:
            polygon = ElementTree.SubElement(entry, "polygon")
            for number, (x, y) in enumerate(outline.rings[0].tolist(), start=1):
                _add(polygon, f"x{number}", f"{x:.12g}")
                _add(polygon, f"y{number}", f"{y:.12g}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = NOT_IN_XML.sub("\ufffd", text)
