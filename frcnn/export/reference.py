"""The Keras detector in the place of an exported file: it gets the inputs of the file.

A file that resizes images sometimes rounds a half to another side than OpenCV, and pixels that are 1 of
255 off move scores by more than a runtime does. So resizing and network are compared apart: the pixels
of the file's resizing with those of our own, and the detections on the same pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from frcnn.data import transforms
from frcnn.export import resizing
from frcnn.export.metadata import Metadata
from frcnn.export.runner import FileModels, Run, unscaled
from frcnn.models.faster_rcnn import FasterRCNN

# From images (B, h, w, 3) of one size to network inputs (B, H, W, 3), and their width and height without
# padding.
Resize = Callable[[np.ndarray], tuple[np.ndarray, tuple[int, int]]]


def with_models(detector: Any, models: Any) -> Any:
    """Return a ``Detector`` with the same settings on another network."""
    return type(detector)(models, detector.config, detector.classes)


def on_same_input(detector: Any, description: Metadata) -> Any:
    """Return the detector, run on network inputs as the file is."""
    return with_models(detector, FileModels(description, _run(detector.models)))


def on_resized(detector: Any, description: Metadata, resize: Resize) -> Any:
    """Return the detector, run on images of any size as the file is, which are resized by ``resize``."""
    detect = _run(detector.models)

    def run(images, _sizes):
        height, width = images.shape[1:3]
        padded, size = resize(images)
        sizes = np.array([size[::-1]] * len(images), "float32")
        found = detect(padded, sizes)
        factors = np.array([[size[0] / width, size[1] / height]] * len(images), "float32")
        return [unscaled(found[0], factors), *found[1:]]

    return with_models(detector, FileModels(description, run))


def own_resizing(detector: Any, description: Metadata) -> Resize:
    """Return a function that resizes and pads as training does."""
    data, room = detector.config.data, _room(description)

    def resize(images):
        height, width = images.shape[1:3]
        size, shrinks = resizing.fitted_size(width, height, data, room)
        no_boxes = np.zeros((0, 4), "float32")
        resized = [transforms.resize_to(image, no_boxes, size, data, shrinks)[0] for image in images]
        return transforms.pad(resized, detector.models.size_multiple, [room] if room else ()), size

    return resize


def graph_resizing(detector: Any, description: Metadata, precise: bool) -> Resize:
    """Return a function that resizes and pads by the operations that are in the file.

    Args:
        precise: as for ``resizing.resize``.
    """
    data, room, multiple = detector.config.data, _room(description), detector.models.size_multiple

    def resize(images):
        padded, sides = resizing.resize(images, data, multiple, room, precise)
        height, width = map(int, sides.numpy())
        return padded.numpy(), (width, height)

    return resize


def pixel_error(one: Resize, other: Resize, images: Sequence[np.ndarray]) -> float:
    """Return the largest difference between resized images, of 255; infinite if they differ in size.

    Args:
        images: (h, w, 3) each.
    """
    largest = 0.0
    for image in images:
        (first, size), (second, other_size) = one(image[None]), other(image[None])
        if size != other_size:
            return float("inf")
        largest = max(largest, float(np.abs(first - second.astype("float32")).max()))
    return largest


def _run(models: FasterRCNN) -> Run:
    """Return a function that runs the Keras detector as a file is run."""

    def run(images, sizes):
        return models.detector.predict_on_batch([images.astype("float32"), sizes])

    return run


def _room(description):
    return None if description.height is None else (description.height, description.width)
