"""The sinks of a list of result formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from frcnn.errors import DataError
from frcnn.prediction.coco_results import CocoIds, CocoResults
from frcnn.prediction.drawn import Drawn
from frcnn.prediction.sinks import CsvRows, JsonLines, Sink, VocLabels, YoloLabels
from frcnn.prediction.sources import Source


def make(
    formats: Sequence[str],
    out: Path,
    classes: Sequence[str],
    sources: Sequence[Source],
    coco_ids: str | None = None,
    overwrite: bool = False,
    is_oriented: bool = False,
) -> list[Sink]:
    """Return a sink per format.

    Args:
        formats: keys of ``frcnn.prediction.sinks.FORMATS``.
        out: the folder of the results.
        classes: the detector's, in the order of the labels.
        sources: what is looked at; these files are never replaced.
        coco_ids: COCO file whose ids are used; None: ids from 1.
        overwrite: whether earlier results are replaced.
        is_oriented: whether the detections are oriented boxes.

    Raises:
        DataError: an image or a class has no id in the COCO file.
        OutputError: a file cannot be written.
    """
    ids = CocoIds(coco_ids, classes) if coco_ids else None
    if ids:
        for source in sources:
            if source.kind != "image":
                raise DataError(f"{source.path} is no image, and {coco_ids} has ids of images only")
            ids.image(source)
    makers: dict[str, Callable[[], Sink]] = {
        "drawn": lambda: Drawn(out, classes, sources, overwrite),
        "jsonl": lambda: JsonLines(out / "detections.jsonl"),
        "csv": lambda: CsvRows(out / "detections.csv", is_oriented),
        "coco": lambda: CocoResults(out, classes, ids),
        "voc": lambda: VocLabels(out / "voc"),
        "yolo": lambda: YoloLabels(out / "yolo", classes),
    }
    return [makers[name]() for name in formats]
