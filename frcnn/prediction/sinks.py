"""Sinks: they write detections as drawn pictures, JSON lines, CSV, COCO results, VOC or YOLO labels.

A sink gets one picture with its detections at a time, writes them, and keeps none of them in memory. It
never replaces a source, and replaces an earlier result only if the user says so.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from frcnn.data import oriented, write_voc, write_yolo
from frcnn.data.write_csv import FOUR_POINTS
from frcnn.errors import ConfigError, OutputError
from frcnn.files import outputs, safe_write
from frcnn.files.streamed import StreamedText
from frcnn.prediction.sources import Picture, Source
from frcnn.text import did_you_mean, listed

Found = Mapping[str, Any]  # as ``Detector.predict`` returns it
# Format -> files or folders that its sink writes in the output folder. Drawn pictures have other names.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "drawn": (),
    "jsonl": ("detections.jsonl",),
    "csv": ("detections.csv",),
    "coco": ("coco_results.json", "coco_images.json"),
    "voc": ("voc",),
    "yolo": ("yolo",),
}


class Sink(Protocol):
    """Gets detections, one picture at a time."""

    def add(self, picture: Picture, found: Found) -> Path | None:
        """Write the detections in a picture; return its drawn picture, if there is one."""

    def end(self, source: Source) -> Path | None:
        """Complete the files of a video; return the drawn video, if there is one."""

    def close(self) -> None:
        """Complete the files."""


def formats_of(text: str) -> tuple[str, ...]:
    """Return the formats in a comma-separated text.

    Raises:
        ConfigError: there is no such format.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names or ("",):
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS) or f"; expected some of {', '.join(FORMATS)}"
            raise ConfigError(f"there is no result format '{name}'{hint}")
    return names


def check(out: Path, formats: Sequence[str], overwrite: bool) -> None:
    """Check that results can be written to a folder, before any work.

    Raises:
        OutputError: it is not a folder, or has results of an earlier command.
    """
    outputs.check_folder(out)
    there = [out / name for form in formats for name in FORMATS[form] if os.path.lexists(out / name)]
    there = [path for path in there if not path.is_dir() or any(path.iterdir())]
    if there and not overwrite:
        raise OutputError(
            f"{listed(map(str, there))} exists already: give another --out, or --overwrite to replace it"
        )


class Stems:
    """Gives each source a file name of its own: ``p``, ``p-2`` for a second ``p``.

    Args:
        taken: names, in lower case, that are not given to a source.
    """

    def __init__(self, taken: Sequence[str] = ()) -> None:
        self._of: dict[Source, str] = {}
        self._taken = set(taken)

    def of(self, picture: Picture) -> str:
        """Return a picture's file name without suffix. The name of a frame ends with its number."""
        if picture.source not in self._of:
            stem, number = picture.source.stem, 1
            while stem.casefold() in self._taken:  # for some disks a.xml and A.xml are one name
                number += 1
                stem = f"{picture.source.stem}-{number}"
            self._taken.add(stem.casefold())
            self._of[picture.source] = stem
        stem = self._of[picture.source]
        return stem if picture.frame is None else f"{stem}-{picture.frame:06d}"


class _Text:
    """A sink with one text file."""

    def __init__(self, path: Path):
        self.file = StreamedText(path)

    def end(self, source: Source) -> None:
        return None

    def close(self) -> None:
        self.file.close()


class JsonLines(_Text):
    """One JSON object per image or frame: image, frame, width, height, and lists per detection."""

    def add(self, picture: Picture, found: Found) -> None:
        height, width = picture.pixels.shape[:2]
        row: dict[str, Any] = {"image": picture.source.path}
        row |= {} if picture.frame is None else {"frame": picture.frame}
        row |= {"width": width, "height": height, "boxes": rounded(found["boxes"])}
        if "oriented" in found:  # centre, sides in pixels, and angle in radians
            row["oriented"] = found["oriented"].astype(float).round(4).tolist()
        row |= {"scores": [round(float(score), 6) for score in found["scores"]]}
        row |= {"labels": [int(label) for label in found["labels"]], "names": list(found["names"])}
        self.file.write(json.dumps(row) + "\n")


class CsvRows(_Text):
    """One row per detection, with a header. ``frcnn`` and spreadsheets can read the file.

    Args:
        path: the file.
        is_oriented: whether a box has its four corners, x1 to y4, in place of x1, y1, x2, y2.
    """

    def __init__(self, path: Path, is_oriented: bool = False):
        super().__init__(path)
        corners = FOUR_POINTS if is_oriented else FOUR_POINTS[:4]
        self._write(("image", "frame", *corners, "class", "score", "width", "height"))

    def add(self, picture: Picture, found: Found) -> None:
        height, width = picture.pixels.shape[:2]
        frame = "" if picture.frame is None else picture.frame
        boxes = found["boxes"]
        if "oriented" in found:
            boxes = oriented.corners(found["oriented"].astype("float64")).reshape(-1, 8)
        for box, score, name in zip(rounded(boxes), found["scores"], found["names"]):
            self._write([picture.source.path, frame, *box, name, f"{score:.6f}", width, height])

    def _write(self, row: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self.file.write(text.getvalue())


class _Labels:
    """A sink with one file per image in a folder."""

    def __init__(self, folder: Path, taken: Sequence[str] = ()):
        self.folder, self.stems = outputs.new_folder(folder), Stems(taken)

    def write(self, name: str, text: str) -> None:
        """Write a file into the folder."""
        path = self.folder / name
        with outputs.writing(path):
            safe_write.replace(path, text.encode("utf-8", "surrogateescape"))

    def end(self, source: Source) -> None:
        return None

    def close(self) -> None:
        return None


class VocLabels(_Labels):
    """A VOC annotation per image, with the scores as ``<score>``; oriented boxes as ``<robndbox>``."""

    def add(self, picture: Picture, found: Found) -> None:
        height, width = picture.pixels.shape[:2]
        stem, name = self.stems.of(picture), Path(picture.source.path).name
        text = write_voc.annotation(
            name if picture.frame is None else f"{stem}.jpg",
            width,
            height,
            found["boxes"],
            found["names"],
            scores=found["scores"],
            oriented=found.get("oriented"),
        )
        self.write(f"{stem}.xml", text)


class YoloLabels(_Labels):
    """YOLO labels per image, without scores, and ``classes.txt``; of oriented boxes YOLO-OBB's."""

    def __init__(self, folder: Path, classes: Sequence[str]):
        super().__init__(folder, ["classes"])
        self.write("classes.txt", "".join(f"{name}\n" for name in classes))

    def add(self, picture: Picture, found: Found) -> None:
        height, width = picture.pixels.shape[:2]
        if "oriented" in found:
            corners = oriented.corners(found["oriented"].astype("float64")).reshape(-1, 8)
            text = write_yolo.four_point_lines(width, height, corners, found["labels"])
        else:
            text = write_yolo.lines(width, height, found["boxes"], found["labels"])
        self.write(f"{self.stems.of(picture)}.txt", text)


def rounded(boxes: Any) -> list[list[float]]:
    """Return (M, 4) boxes as lists, rounded to a thousandth of a pixel."""
    return [[round(float(value), 3) for value in box] for box in boxes]
