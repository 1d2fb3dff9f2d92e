"""Data sets from Python objects: images as paths or arrays, with boxes and labels."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.config import class_names
from frcnn.data import image_io
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import DataError
from frcnn.text import listed, shown, shown_value

KEYS = ("image", "boxes", "labels", "difficult", "name")


def dataset_from(
    records: Iterable[Mapping[str, Any]], classes: Sequence[str] | None = None, name: str = "data"
) -> Dataset:
    """Return the ``Dataset`` of labelled images that are given as dicts.

    Args:
        records: each has ``image``, a path or an (H, W, 3) uint8 RGB array; ``boxes``, (G, 4) half-open
            pixels of the image, ``[x1, y1, x2, y2]``; ``labels``, G names of classes; and, if wanted,
            ``difficult``, G bools, and ``name``, which messages show.
        classes: names in the order of the labels; None: the sorted names that occur.
        name: of the data set, for messages.

    Raises:
        DataError: a record is not of this form; up to twelve of them are named at once.

    Example:
        >>> image = np.zeros((40, 60, 3), "uint8")
        >>> data = dataset_from([{"image": image, "boxes": [[5, 5, 30, 20]], "labels": ["cat"]}])
        >>> data.summary()
        'data: 1 images, 1 boxes (0 difficult), 1 classes: cat 1'
    """
    samples, names, faults = [], [], []
    for number, record in enumerate(records):
        try:
            sample, own = _sample(record, number)
        except DataError as error:
            faults.append(f"  record {number}: {error}")
            continue
        samples.append(sample)
        names.append(own)
    if faults:
        more = [f"  ... and {len(faults) - 12} more"] if len(faults) > 12 else []
        raise DataError("\n".join([f"{name}: {len(faults)} faulty records", *faults[:12], *more]))
    occurring = sorted({label for own in names for label in own})
    known = tuple(class_names.clean_all(classes)) if classes is not None else tuple(occurring)
    if unknown := [label for label in occurring if label not in known]:
        raise DataError(f"{name}: unknown classes {listed(unknown)}; expected {listed(known)}")
    labelled = [
        Sample(**vars(sample) | {"labels": np.array([known.index(label) for label in own], np.int32)})
        for sample, own in zip(samples, names, strict=True)
    ]
    return Dataset(name, known, tuple(labelled))


def _sample(record: Mapping[str, Any], number: int) -> tuple[Sample, list[str]]:
    """Return the ``Sample`` of a record, without labels, and the names of its classes."""
    if not isinstance(record, Mapping):
        raise DataError(f"is {shown_value(record)}, not a dict with {', '.join(KEYS[:3])}")
    missing = [key for key in KEYS[:3] if key not in record]
    unknown = [str(key) for key in record if key not in KEYS]
    if missing or unknown:
        text = f"has no {', '.join(missing)}" if missing else f"has unknown keys {listed(unknown)}"
        raise DataError(f"{text}; a record has {', '.join(KEYS)}")
    image, pixels, path = record["image"], None, ""
    if isinstance(image, (str, os.PathLike)):
        path = os.fspath(image)
        try:
            width, height = image_io.read_header(path).upright
        except DataError as error:
            raise DataError(f"the image {shown(path)} {error}") from error
    else:
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise DataError(
                f"image is {pixels.dtype} {pixels.shape}; expected a path or uint8 (H, W, 3) RGB"
            )
        height, width = pixels.shape[:2]
    boxes = _boxes(record["boxes"], width, height)
    names = [class_names.clean(str(label)) for label in record["labels"]]
    difficult = np.asarray(record.get("difficult", np.zeros(len(boxes), bool)), bool)
    for what, values in (("labels", names), ("difficult", difficult)):
        if len(values) != len(boxes):
            raise DataError(f"has {len(boxes)} boxes and {len(values)} {what}")
    name = str(record.get("name", path or f"record {number}"))
    labels = np.zeros(len(boxes), np.int32)
    return Sample(name, path, width, height, boxes, labels, difficult, pixels=pixels), names


def _boxes(given: Any, width: int, height: int) -> np.ndarray:
    """Return the (G, 4) float32 boxes of an image, checked and clipped to it."""
    try:
        boxes = np.asarray(given, np.float32).reshape(-1, 4)
    except (TypeError, ValueError) as error:
        raise DataError(f"boxes are no (G, 4) numbers: {error}") from error
    for number, (x1, y1, x2, y2) in enumerate(boxes.tolist(), start=1):
        text = f"box {number} [{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
        if not np.isfinite([x1, y1, x2, y2]).all() or x2 - x1 < 1 or y2 - y1 < 1:
            raise DataError(f"{text} is inverted, less than one pixel wide or high, or not finite")
        if min(x1, y1) < -1 or x2 > width + 1 or y2 > height + 1:
            raise DataError(f"{text} reaches out of the {width}x{height} image")
    return np.clip(boxes, 0, np.array([width, height] * 2, np.float32))
