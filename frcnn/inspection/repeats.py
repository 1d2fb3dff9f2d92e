"""Duplicates in a data set: boxes and images. It also finds classes that only one of two splits has."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from frcnn.data.sample import Dataset
from frcnn.files import untrusted
from frcnn.ops.boxes import iou
from frcnn.text import listed, shown

SAME_IOU = 0.95  # two boxes of an image with this IoU or more count as one object labelled twice
MOST = 12  # lines of each kind in a report, at most


def repeats(dataset: Dataset, other: Dataset | None) -> str:
    """Return lines about duplicates in a data set and classes that a split does not have; "" if none.

    Args:
        dataset: the split to check.
        other: another split, to compare images and classes; None: no comparison.
    """
    lines = _cut("boxes lie on each other", box_pairs(dataset))
    datasets = [dataset] if other is None else [dataset, other]
    lines += _cut("images have the same content as another", same_images(datasets))
    if other is not None:
        lines += missing_classes(dataset, other)
    return "\n".join(lines)


def _cut(what: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    more = [f"  ... and {len(found) - MOST} more"] if len(found) > MOST else []
    return [f"{len(found)} {what}:", *(f"  {line}" for line in found[:MOST]), *more]


def box_pairs(dataset: Dataset) -> list[str]:
    """Return a line for each pair of boxes of an image whose IoU is ``SAME_IOU`` or more."""
    found = []
    for sample in dataset.samples:
        if len(sample.boxes) < 2:
            continue
        overlaps = np.triu(np.asarray(iou(sample.boxes, sample.boxes)), 1)
        for first, second in zip(*np.nonzero(overlaps >= SAME_IOU)):
            names = [shown(dataset.classes[sample.labels[row]]) for row in (first, second)]
            box = ", ".join(f"{value:g}" for value in sample.boxes[first])
            found.append(f"{shown(sample.name)}: {' and '.join(names)} at [{box}]")
    return found


def same_images(datasets: Iterable[Dataset]) -> list[str]:
    """Return a line for each group of images with the same bytes, within and between data sets.

    Only files with equal lengths are read. A file that is in two splits is named as well.
    """
    of_length: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for dataset in datasets:
        for sample in dataset.samples:
            try:
                length = os.stat(sample.path).st_size
            except OSError:  # an image in memory, or one that is gone since
                continue
            of_length[length].append((sample.path, f"{sample.name} ({dataset.name})"))
    found = []
    for members in of_length.values():
        if len(members) < 2:
            continue
        same: dict[str, list[str]] = defaultdict(list)
        digests: dict[str, str] = {}
        for path, name in members:
            if path not in digests:
                digests[path] = _digest(path)
            same[digests[path]].append(name)
        found += [listed(names) for digest, names in same.items() if digest and len(names) > 1]
    return sorted(found)


def _digest(path: str) -> str:
    """Return a digest of a file's bytes, "" if it cannot be read."""
    try:
        return hashlib.sha256(untrusted.read_bytes(path, untrusted.MAX_IMAGE_BYTES)).hexdigest()
    except OSError:
        return ""


def missing_classes(dataset: Dataset, other: Dataset) -> list[str]:
    """Return a line for each of two splits that has no objects of some classes of the other."""
    first, second = (
        {one.classes[label] for sample in one.samples for label in sample.labels}
        for one in (dataset, other)
    )
    return [
        f"{name} has no object of the classes {listed(sorted(missing))}"
        for name, missing in ((dataset.name, second - first), (other.name, first - second))
        if missing
    ]
