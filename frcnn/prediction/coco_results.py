"""COCO results: a JSON list of ``image_id``, ``category_id``, ``bbox`` and ``score`` per detection.

A detection with an oriented box also has its four corners as ``segmentation``.

pycocotools loads results only beside a COCO file with the same image ids. Either such a file is given,
and its ids of images and categories are used; or images are numbered from 1 in their order and
categories from 1 in the order of the detector's classes, and ``coco_images.json`` holds these ids.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frcnn.data import oriented
from frcnn.data.label_files import read_json
from frcnn.errors import DataError
from frcnn.files.streamed import StreamedText
from frcnn.prediction.sinks import Found, rounded
from frcnn.prediction.sources import Picture, Source
from frcnn.text import listed, shown


class CocoIds:
    """The ids of a COCO file.

    Args:
        path: the file.
        classes: the detector's, each of which must be among the file's categories.

    Raises:
        DataError: the file cannot be read, or lacks a class.
    """

    def __init__(self, path: str, classes: Sequence[str]):
        content = read_json(Path(path), _slim)
        try:
            images = [(str(entry["file_name"]), entry["id"]) for entry in content["images"]]
            categories = {entry["name"]: entry["id"] for entry in content["categories"]}
        except (TypeError, KeyError) as error:
            raise DataError(
                f"{path} is not a COCO data set, which has images with id and file_name, and categories "
                "with id and name"
            ) from error
        missing = [name for name in classes if name not in categories]
        if missing:
            raise DataError(f"{path} has no category for the detector's classes {listed(missing)}")
        self.path, self.categories = path, [categories[name] for name in classes]
        self._images = dict(images)

    def image(self, source: Source) -> Any:
        """Return the id of the image in the COCO file whose ``file_name`` is the end of a source's path.

        Raises:
            DataError: the file has no such image.
        """
        parts = Path(source.path).as_posix().split("/")
        for start in range(len(parts)):
            if (name := "/".join(parts[start:])) in self._images:
                return self._images[name]
        raise DataError(f"{shown(source.path)} is not among the images in {self.path}")


def _slim(entry: dict[str, Any]) -> dict[str, Any]:
    """Drop annotations while the file is parsed: only images and categories are needed."""
    return {} if "bbox" in entry or "segmentation" in entry else entry


class CocoResults:
    """Writes ``coco_results.json``; and, if no ids are given, ``coco_images.json``.

    Args:
        out: the folder.
        classes: the detector's.
        ids: those of a COCO file; None: images and classes are numbered from 1.
    """

    def __init__(self, out: Path, classes: Sequence[str], ids: CocoIds | None = None):
        self._ids, self._images = ids, 0
        self._categories = ids.categories if ids else list(range(1, len(classes) + 1))
        self._results = _JsonList(out / "coco_results.json", "[", "]")
        self._named: _JsonList | None = None
        if ids is None:
            categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
            end = f'], "annotations": [], "categories": {json.dumps(categories)}}}'
            self._named = _JsonList(out / "coco_images.json", '{"info": {}, "images": [', end)

    def add(self, picture: Picture, found: Found) -> None:
        """Write the detections in a picture."""
        self._images += 1
        image: Any = self._images
        if self._ids:
            image = self._ids.image(picture.source)
        if self._named:
            height, width = picture.pixels.shape[:2]
            name = picture.source.path + ("" if picture.frame is None else f"#{picture.frame}")
            self._named.add({"id": image, "file_name": name, "width": width, "height": height})
        for row, (x1, y1, x2, y2) in enumerate(rounded(found["boxes"])):
            result = {
                "image_id": image,
                "category_id": self._categories[found["labels"][row]],
                "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                "score": round(float(found["scores"][row]), 6),
            }
            if "oriented" in found:
                corners = oriented.corners(found["oriented"][row].astype("float64"))
                result["segmentation"] = [corners.round(3).ravel().tolist()]
            self._results.add(result)

    def end(self, source: Source) -> None:
        """Do nothing: there is no file per video."""

    def close(self) -> None:
        """Complete the files."""
        self._results.close()
        if self._named:
            self._named.close()


class _JsonList:
    """A JSON file whose list is written entry by entry."""

    def __init__(self, path: Path, begin: str, end: str):
        self._file, self._end, self._comma = StreamedText(path), end, ""
        self._file.write(begin)

    def add(self, entry: dict[str, Any]) -> None:
        self._file.write(f"{self._comma}\n{json.dumps(entry)}")
        self._comma = ","

    def close(self) -> None:
        self._file.write(f"\n{self._end}\n")
        self._file.close()
