"""What every reader returns: a list of labelled images and the names of their classes.

Boxes are ``[x1, y1, x2, y2]`` in pixels of the image file, half-open: each reader turns its own
convention into this one, once. Images are named, not loaded: the input pipeline decodes them.
"""

import dataclasses
import hashlib
import os

import numpy as np

from frcnn.errors import DataError
from frcnn.files import untrusted

END_BYTES = 4096  # at the beginning and at the end of an image file, that tell whether it is another


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    Attributes:
        name: the image's identifier within its data set, as error messages show it.
        path: the image file.
        width: of the image, pixels.
        height: of the image, pixels.
        boxes: (G, 4) float32, half-open pixels of the image file; G may be 0.
        labels: (G,) int32, indices into ``Dataset.classes``.
        difficult: (G,) bool; such boxes are kept out of training and count neither for nor against
            a detector in VOC AP.
        weight: what the image's losses are multiplied by in both sub-models.
    """

    name: str
    path: str
    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    weight: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """The labelled images of one split.

    Attributes:
        name: data set and split, for messages (``"voc2007 trainval"``).
        classes: the object classes' names, background not among them.
        samples: the images, in the order of the split.
        skipped: (name, reason) of each image that was skipped because of a fault.
    """

    name: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[tuple[str, str], ...] = ()

    def __len__(self):
        return len(self.samples)

    def fingerprint(self):
        """Return a text that changes with the images' names, their order, their boxes or their files.

        Of a file the length, the beginning and the end count, but not its path or its times, which
        change when it is copied.

        Raises:
            DataError: an image file cannot be read.
        """
        digest = hashlib.sha256(repr(self.classes).encode())
        files = hashlib.sha256()
        for sample in self.samples:
            digest.update(repr(sample.name).encode())
            for array in (sample.boxes, sample.labels, sample.difficult):
                digest.update(np.ascontiguousarray(array).tobytes())
            for part in _ends(sample.path):
                files.update(part)
        return f"{len(self)} images, {digest.hexdigest()[:16]}, files {files.hexdigest()[:16]}"

    def summary(self):
        """Return one line: images, boxes, difficult boxes, boxes a class."""
        labels = [sample.labels for sample in self.samples]
        counts = np.bincount(np.concatenate(labels or [np.zeros(0, int)]), minlength=len(self.classes))
        difficult = sum(int(sample.difficult.sum()) for sample in self.samples)
        a_class = ", ".join(f"{name} {count}" for name, count in zip(self.classes, counts))
        return (
            f"{self.name}: {len(self)} images, {counts.sum()} boxes ({difficult} difficult), "
            f"{len(self.classes)} classes: {a_class}"
        )


def _ends(path):
    """Yield a file's length as text, its first and its last bytes."""
    try:
        with untrusted.open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            yield str(length).encode()
            yield file.read(END_BYTES)
            file.seek(max(length - END_BYTES, 0))
            yield file.read(END_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
