"""``Sample`` and ``Dataset``, which every reader returns.

Boxes are ``[x1, y1, x2, y2]`` in pixels of the image file, half-open; each reader converts its format's
boxes. A sample holds the path of its image: the loader decodes it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator

import numpy as np

from frcnn.data import oriented
from frcnn.data.outlines import Outline
from frcnn.errors import DataError
from frcnn.files import untrusted
from frcnn.text import listed

END_BYTES = 4096  # at the beginning and the end of an image file, which the fingerprint covers


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    Attributes:
        name: the image's identifier within its data set, as error messages show it.
        path: the image file; "" where ``pixels`` are given.
        width, height: of the upright image, pixels.
        boxes: (G, 4) float32, pixels of the upright image; G may be 0.
        labels: (G,) int32, indices into ``Dataset.classes``.
        difficult: (G,) bool; such boxes are not trained on, and VOC AP ignores them.
        weight: factor of the image's losses in both sub-models.
        pixels: (H, W, 3) uint8 RGB of an image in memory; None: it is in the file.
        crowd: (G,) bool; groups of objects, COCO's ``iscrowd``; ``difficult`` too. None: no box.
        oriented: (G, 5) float32 oriented boxes ``[cx, cy, w, h, angle]``; ``boxes`` has the axis-aligned
            boxes around them. None: no object of the image has an angle.
        area: (G,) areas of the objects' masks, square pixels, by which COCO AP sorts objects into sizes;
            None: the areas of the boxes.
        outlines: G polygons, each None for an object without one. None: polygons are not kept, or no
            object has one.
    """

    name: str
    path: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    weight: float = 1.0
    pixels: np.ndarray | None = None
    crowd: np.ndarray | None = None
    area: np.ndarray | None = None
    oriented: np.ndarray | None = None
    outlines: tuple[Outline | None, ...] | None = None

    def truth(self) -> dict[str, np.ndarray]:
        """Return the ground truth for the metrics: all arrays of the objects except ``crowd``."""
        truth = {"boxes": self.boxes, "labels": self.labels, "difficult": self.difficult}
        more = {"area": self.area, "oriented": self.oriented}
        return truth | {name: values for name, values in more.items() if values is not None}

    def boxes_of(self, kind: str) -> np.ndarray:
        """Return the boxes of a kind, ``box.kind``: (G, 4), or (G, 5) for "oriented"."""
        if kind == "axis_aligned":
            return self.boxes
        return oriented.from_axis_aligned(self.boxes) if self.oriented is None else self.oriented


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The labelled images of one split.

    Attributes:
        name: data set and split, for messages (``"voc2007 trainval"``).
        classes: names of the object classes, without background.
        samples: the images, in the order of the split.
        skipped: (name, reason) for each image that was skipped because of a fault.
        dropped: (class, objects) of the classes that ``data.classes`` drops.
        clipped: (name, box) for each box that was clipped to its image.
        notes: sentences about the labels that the user should read.
        outlines: number of objects whose polygon or mask is read as the box around it.
        made: the split was made by a hash of the images' names, because the data have none.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, int], ...] = ()
    clipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    outlines: int = 0
    made: bool = False

    def __len__(self) -> int:
        return len(self.samples)

    def fingerprint(self) -> str:
        """Return a text that changes with the images' names, order, boxes or files.

        It covers each file's length, beginning and end, but not its path or times, which change when
        the file is copied.

        Raises:
            DataError: an image file cannot be read.
        """
        digest = hashlib.sha256(repr(self.classes).encode())
        files = hashlib.sha256()
        for sample in self.samples:
            digest.update(repr(sample.name).encode())
            arrays = (
                sample.boxes,
                sample.labels,
                sample.difficult,
                sample.crowd,
                sample.area,
                sample.oriented,
            )
            for array in (array for array in arrays if array is not None):
                digest.update(np.ascontiguousarray(array).tobytes())
            if sample.pixels is not None:
                files.update(np.ascontiguousarray(sample.pixels).tobytes())
                continue
            for part in _ends(sample.path):
                files.update(part)
        return f"{len(self)} images, {digest.hexdigest()[:16]}, files {files.hexdigest()[:16]}"

    def summary(self) -> str:
        """Return one line: images, boxes, boxes per class; what was dropped or clipped; notes."""
        labels = [sample.labels for sample in self.samples]
        counts = np.bincount(np.concatenate(labels or [np.zeros(0, int)]), minlength=len(self.classes))
        difficult = sum(int(sample.difficult.sum()) for sample in self.samples)
        per_class = ", ".join(f"{name} {count}" for name, count in zip(self.classes, counts))
        text = (
            f"{self.name}: {len(self)} images, {counts.sum()} boxes ({difficult} difficult), "
            f"{len(self.classes)} classes: {per_class}"
        )
        if self.dropped:
            names = listed(f"{name} {count}" for name, count in self.dropped)
            text += f"; dropped objects of other classes: {names}"
        if self.clipped:
            text += f"; {len(self.clipped)} boxes were clipped to their images"
        for note in self.notes:
            text += f"; {note}"
        return text


def _ends(path: str) -> Iterator[bytes]:
    """Yield a file's length as text, its first bytes and its last bytes."""
    try:
        with untrusted.open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            yield str(length).encode()
            yield file.read(END_BYTES)
            file.seek(max(length - END_BYTES, 0))
            yield file.read(END_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
