"""Runs an exported file in place of a network's ``detector``, so that ``Detector`` can use it.

A file with a fixed input takes images of one size, one or a few per call. Here a batch of any size is
divided into such calls; images that are too large are made smaller, and all are padded. A file that
resizes images itself gets whole images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from frcnn.data import oriented, transforms
from frcnn.export.metadata import Metadata

# Cores that this process may use: a runtime's own choice may be all of the machine.
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# From images and image sizes, as frcnn.export.graph describes them, to its outputs in their order.
Run = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]


class FileModels:
    """The part of ``FasterRCNN`` that ``frcnn.detector.Detector`` uses, computed by an exported file.

    Args:
        description: description in the file.
        run: function that runs the file.

    Attributes:
        size_multiple: sides of images must be multiples of this, pixels.
        least_score: only detections with a score above this are returned. The file itself has none below
            its own threshold.
        detector: this object, for ``detector.predict_on_batch``.
        resizes: whether the file resizes images itself; if so, it gets them in their own size.
        box_classifier: None, because an exported file classifies only its own proposals.
    """

    box_classifier = None

    def __init__(self, description: Metadata, run: Run):
        self.description, self.run = description, run
        self.size_multiple = description.size_multiple
        self.least_score = description.score_threshold
        self.resizes = description.resizes

    @property
    def detector(self) -> FileModels:
        """This object: its ``predict_on_batch`` is that of the detector."""
        return self

    def predict_on_batch(self, inputs: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Return the detections in a batch.

        Args:
            inputs: images (B, H, W, 3) and image sizes (B, 2), as ``FasterRCNN.detector`` takes them.

        Returns:
            boxes (B, M, 4) pixels of ``images`` (or (B, M, 5) oriented ones), scores (B, M), labels
            (B, M).
        """
        images, sizes = np.asarray(inputs[0]), np.asarray(inputs[1], "float32")
        if self.description.dtype == "uint8" and images.dtype != np.uint8:
            images = np.clip(np.rint(images), 0, 255)
        scales = np.ones((len(images), 2), "float32")
        if self.resizes:
            batches = self._without_padding(images, sizes)
        else:
            if self.description.height is not None:
                images, sizes, scales = self._fit(images, sizes)
            batches = self._cut(images, sizes)
        found = [self._run(*batch) for batch in batches]
        boxes, scores, labels = (np.concatenate(part) for part in zip(*found))
        scores = np.where(scores > self.least_score, scores, 0.0)
        return unscaled(boxes, scales), scores, labels

    def _cut(self, images, sizes):
        """Return a batch as pairs of images and sizes that one call takes."""
        step = self.description.batch or len(images)
        return [(images[at : at + step], sizes[at : at + step]) for at in range(0, len(images), step)]

    def _without_padding(self, images, sizes):
        """Return a batch as ``_cut`` does, without padding, in which the file would see an image."""
        if (sizes == images.shape[1:3]).all():
            return self._cut(images, sizes)
        cropped = (image[:height, :width] for image, (height, width) in zip(images, sizes.astype(int)))
        return [(image[None], size[None]) for image, size in zip(cropped, sizes)]

    def _run(self, images, sizes):
        """Run one call. If it has too few images, copies of the last image are added."""
        images = images.astype(self.description.dtype, copy=False)
        missing = (self.description.batch or len(images)) - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
            sizes = np.concatenate([sizes, np.repeat(sizes[-1:], missing, axis=0)])
        return [part[: len(images) - missing] for part in self.run(images, sizes)[:3]]

    def _fit(self, images, sizes):
        """Put images into the file's height and width; those that are too large are shrunk.

        Returns:
            Images, their sizes without padding, and (B, 2) factors that x and y were scaled by.
        """
        height, width = self.description.height, self.description.width
        fitted, new_sizes, scales = [], [], []
        for image, size in zip(images, sizes):
            image = image[: int(size[0]), : int(size[1])]
            scale = min(1.0, height / image.shape[0], width / image.shape[1])
            if scale < 1.0:
                new = [max(1, int(side * scale)) for side in image.shape[1::-1]]
                image = cv2.resize(image, new, interpolation=cv2.INTER_AREA)
            fitted.append(transforms.pad([image], 1, [(height, width)])[0])
            new_sizes.append(image.shape[:2])
            scales.append(image.shape[1::-1] / size[::-1])
        return np.stack(fitted), np.array(new_sizes, "float32"), np.array(scales, "float32")


def unscaled(boxes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return boxes (B, M, E) of images whose x and y were multiplied by ``scales`` (B, 2)."""
    if boxes.shape[-1] == 4:
        return boxes / np.tile(scales, 2)[:, None]
    return np.stack([oriented.stretch(own, 1.0 / scale) for own, scale in zip(boxes, scales)])
