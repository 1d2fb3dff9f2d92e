"""A cache for the labels of large data sets.

Reading the labels and image headers of 100,000 images takes a minute; with the cache it takes seconds.
The cache is in the user's cache folder (``labels`` in ``frcnn.files.cache_folder``), never in the folder
of the data. It has a fingerprint of every file of the data set: path, inode, length, and times of
change. It is not used if any of them differs, or if frcnn's readers have changed. The operating system
sets the time of a file's last change of any kind (``st_ctime``), so no tool can set it back.

If the folder cannot be created, nothing is kept.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from frcnn.data.faults import Fault, UnknownClass
from frcnn.data.sample import Dataset, Sample
from frcnn.files import safe_write
from frcnn.files.cache_folder import cache_folder

WORTH_SECONDS = 2.0  # labels that are read faster than this are not kept
SETTLED_SECONDS = 2.0  # a file that changed later than this may change again with the same time
MOST_FILES = 16
OWN_CODE = Path(__file__).parent

Read = tuple[Dataset, list[Fault]]


def remember(key: Sequence[Any], files: Callable[[], Iterable[str]], read: Callable[[], Read]) -> Read:
    """Return the result of ``read()``, from the cache if nothing has changed.

    Args:
        key: texts and numbers on which the result depends, besides the files.
        files: function that returns the paths of all files on which the result depends.
        read: function that reads the labels.
    """
    name = hashlib.sha256(repr(tuple(key)).encode("utf-8", "surrogatepass")).hexdigest()[:24]
    path = cache_folder() / "labels" / f"{name}.npz"
    before, newest = fingerprint(files())
    if (known := _load(path, before)) is not None:
        return known
    start = time.time()
    result = read()
    if time.time() - start >= WORTH_SECONDS and newest < start - SETTLED_SECONDS:
        if fingerprint(files())[0] == before:
            _store(path, before, *result)
    return result


def fingerprint(files: Iterable[str]) -> tuple[str, float]:
    """Return a text that changes if a file changes, and the time of the latest change, seconds."""
    digest, newest = hashlib.sha256(PIL.__version__.encode()), 0.0
    for path in (*sorted(map(str, OWN_CODE.glob("*.py"))), *files):
        try:
            status = os.stat(path)
        except OSError:
            digest.update(f"{path!r} missing".encode("utf-8", "surrogatepass"))
            continue
        newest = max(newest, status.st_mtime, status.st_ctime)
        parts = (path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        digest.update(repr(parts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest(), newest


def _store(path: Path, mark: str, dataset: Dataset, faults: Sequence[Fault]) -> None:
    """Write a result to the cache. If this fails, nothing happens."""
    samples = dataset.samples
    text = {
        "fingerprint": mark,
        "dataset": {
            "name": dataset.name,
            "classes": dataset.classes,
            "dropped": dataset.dropped,
            "clipped": dataset.clipped,
            "notes": dataset.notes,
            "outlines": dataset.outlines,
            "made": dataset.made,
        },
        "names": [sample.name for sample in samples],
        "paths": [sample.path for sample in samples],
        "faults": [
            [isinstance(fault, UnknownClass), fault.image, fault.where, fault.what, fault.advice]
            for fault in faults
        ],
    }
    none = np.zeros(0)
    arrays: dict[str, np.ndarray] = {
        "text": np.frombuffer(json.dumps(text).encode(), np.uint8),
        "sizes": np.array([(one.width, one.height) for one in samples], np.int32).reshape(-1, 2),
        "counts": np.array([len(one.boxes) for one in samples], np.int64),
        "boxes": np.concatenate([np.zeros((0, 4), np.float32), *(one.boxes for one in samples)]),
        "labels": np.concatenate([np.zeros(0, np.int32), *(one.labels for one in samples)]),
        "difficult": np.concatenate([np.zeros(0, bool), *(one.difficult for one in samples)]),
        "has_crowd": np.array([one.crowd is not None for one in samples], bool),
        "has_oriented": np.array([one.oriented is not None for one in samples], bool),
        "oriented": np.concatenate(
            [
                np.zeros((0, 5), np.float32),
                *(one.oriented for one in samples if one.oriented is not None),
            ]
        ),
        "has_area": np.array([one.area is not None for one in samples], bool),
        "crowd": np.concatenate(
            [np.zeros(0, bool), *(one.crowd for one in samples if one.crowd is not None)]
        ),
        "area": np.concatenate([none, *(one.area for one in samples if one.area is not None)]),
    }
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]  # mypy: one of them is allow_pickle
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        safe_write.replace(path, content.getvalue())
        kept = sorted(path.parent.glob("*.npz"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[MOST_FILES:]:
            old.unlink(missing_ok=True)
    except OSError:
        pass


def _load(path: Path, mark: str) -> Read | None:
    """Return the result in the cache; None if it is missing, out of date or damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            text = json.loads(stored["text"].tobytes())
            if text["fingerprint"] != mark:
                return None
            arrays = {name: stored[name] for name in stored.files if name != "text"}
        return _unpacked(path, text, arrays)
    except Exception:  # a damaged file may raise anything; then the labels are read again
        return None


def _unpacked(path: Path, text: dict[str, Any], arrays: dict[str, np.ndarray]) -> Read:
    counts, crowds, areas = arrays["counts"], arrays["has_crowd"], arrays["has_area"]
    ends = np.cumsum(counts)[:-1]
    split = {name: np.split(arrays[name], ends) for name in ("boxes", "labels", "difficult")}
    crowd = iter(np.split(arrays["crowd"], np.cumsum(counts[crowds])[:-1]))
    area = iter(np.split(arrays["area"], np.cumsum(counts[areas])[:-1]))
    turned = arrays["has_oriented"]
    oriented = iter(np.split(arrays["oriented"], np.cumsum(counts[turned])[:-1]))
    samples = tuple(
        Sample(
            name,
            image,
            width,
            height,
            split["boxes"][index],
            split["labels"][index],
            split["difficult"][index],
            crowd=next(crowd) if crowds[index] else None,
            area=next(area) if areas[index] else None,
            oriented=next(oriented) if turned[index] else None,
        )
        for index, (name, image, (width, height)) in enumerate(
            zip(text["names"], text["paths"], arrays["sizes"].tolist(), strict=True)
        )
    )
    own = text["dataset"]
    tuples = {key: tuple(map(tuple, own[key])) for key in ("dropped", "clipped")}
    notes = (*own["notes"], f"labels unchanged since they were kept in {path}")
    dataset = Dataset(
        own["name"],
        tuple(own["classes"]),
        samples,
        notes=notes,
        outlines=own["outlines"],
        made=own["made"],
        **tuples,
    )
    kinds = (Fault, UnknownClass)
    return dataset, [kinds[unknown](*rest) for unknown, *rest in text["faults"]]
