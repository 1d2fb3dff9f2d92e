"""Write CVAT's XML, "CVAT for images 1.1": one file, in which each image has its split as ``subset``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.etree import ElementTree

from frcnn.data.converted import Converted, angles_of, crowd_of, outlines_of, rounded
from frcnn.data.oriented import upright
from frcnn.data.write_voc import NOT_IN_XML

STORES = frozenset({"difficult", "crowd", "empty", "classes", "polygon", "oriented"})
MIN_SIDE = 1.0
SPLITS: tuple[str, ...] | None = ("train", "val", "test")


def image_file(split: str, file: str) -> str:
    """Return where an image belongs in the data set."""
    return f"images/{split}/{file}"


def files(data: Converted) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of the label file of a data set."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(root, "meta")
    for tag in ("task", "labels"):
        labels = ElementTree.SubElement(labels, tag)
    for name in data.classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = _text(name)
    number = 0
    for split, images in data.splits.items():
        for file, sample in images:
            sides = {"width": str(sample.width), "height": str(sample.height)}
            names = {"id": str(number), "name": _text(file), "subset": split}
            image = ElementTree.SubElement(root, "image", names | sides)
            number += 1
            crowd, outlines, angles = crowd_of(sample), outlines_of(sample), angles_of(sample)
            for row, box in enumerate(rounded(sample.boxes)):
                rotation: dict[str, str] = {}
                if (turned := angles[row]) is not None:  # the sides before the box is rotated
                    (box,) = rounded(upright(turned))
                    rotation = {"rotation": f"{math.degrees(turned[4]) % 360:.6f}"}
                corners = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.12g}" for value in box)))
                name = _text(data.classes[sample.labels[row]])
                if (outline := outlines[row]) is None:
                    entry = ElementTree.SubElement(image, "box", {"label": name} | corners | rotation)
                else:
                    points = ";".join(f"{x:.12g},{y:.12g}" for x, y in outline.rings[0].tolist())
                    entry = ElementTree.SubElement(image, "polygon", {"label": name, "points": points})
                flags = {"difficult": bool(sample.difficult[row]), "iscrowd": crowd[row]}
                for flag in (flag for flag, is_set in flags.items() if is_set):
                    ElementTree.SubElement(entry, "attribute", {"name": flag}).text = "true"
    ElementTree.indent(root)
    yield "annotations.xml", ElementTree.tostring(root, encoding="unicode") + "\n"


def _text(text: str) -> str:
    return NOT_IN_XML.sub("\ufffd", text)
