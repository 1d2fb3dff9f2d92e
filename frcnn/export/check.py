"""Compare an exported file with the Keras detector that it was made from: detections, AP and speed.

Both get the same network inputs, so that only their arithmetic can differ. A file that resizes images
itself gets images; then Keras gets them as the file's operations resize them, these pixels are compared
with those of frcnn's own resizing, and so is AP. A file of open size is run with images of several
sizes, one and four per call. Runtimes round differently in the last bits. This can change
which of two boxes of nearly equal score NMS keeps, so one detection in a hundred may differ.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from frcnn.data import oriented, transforms
from frcnn.data.sample import Dataset
from frcnn.evaluation import evaluator
from frcnn.export import reference
from frcnn.export.formats import Format, files_of, format_of, open_exported
from frcnn.export.metadata import Metadata
from frcnn.export.runner import FileModels

MAX_BOX_ERROR = 0.5  # pixels of the image
MAX_SCORE_ERROR = 1e-3
MAX_STRAYS = 0.01  # share of the detections
MAX_PIXEL_ERROR = 1.0  # of 255, by the file's resizing: halves may be rounded to the other side
# Largest loss of AP, points of 100, by the precision of the stored weights.
MAX_AP_LOSS = {"float32": 0.1, "float16": 0.5, "int8": 2.0}
AGREEMENT_IMAGES = 20
LATENCY_RUNS = 20
# Where size and number of images are open: also parts of so many images, and so many per call.
OPEN_SIZE_IMAGES = 8
OPEN_SIZE_BATCH = 4


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well the detections of two detectors agree.

    A detection of one detector has a partner if the other detector has one of the same label, within
    the tolerances.

    Attributes:
        images: number of images.
        detections: number of detections of both detectors together.
        strays: number of detections without a partner.
        box_error: largest difference of a coordinate between partners, pixels.
        score_error: largest difference of scores between partners.
    """

    images: int
    detections: int
    strays: int
    box_error: float
    score_error: float


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a check.

    Attributes:
        description: description in the file.
        file_format: format of the file.
        megabytes: size of the file.
        agreement: how well the detections agree.
        latency, keras_latency: median seconds per call, of the file and of Keras.
        input_shape: shape of the images in that call.
        ap: mean AP of the file, of Keras with images of the file's size and of Keras at its own input
            sizes, resized by frcnn's own code; None: there were no labels.
        ap_images: number of images that AP is of.
        pixel_error: largest difference between pixels that the file and frcnn resize, of 255; infinite
            if a size differs; None: the file does not resize.
    """

    description: Metadata
    file_format: Format
    megabytes: float
    agreement: Agreement
    latency: float
    keras_latency: float
    input_shape: tuple[int, ...]
    ap: tuple[float, float, float] | None
    ap_images: int
    pixel_error: float | None = None

    def faults(self) -> list[str]:
        """Return a message for each disagreement; an empty list if the file agrees."""
        found, weights = [], self.description.weights
        if not self.agreement.detections:
            found.append(
                f"nothing was detected in {self.agreement.images} images, so nothing was compared"
            )
        if weights == "float32" and self.agreement.strays > MAX_STRAYS * self.agreement.detections:
            found.append(
                f"{self.agreement.strays} of {self.agreement.detections} detections have no partner "
                f"within {MAX_BOX_ERROR} px and {MAX_SCORE_ERROR:g} of score"
            )
        if self.pixel_error is not None and self.pixel_error > MAX_PIXEL_ERROR:
            by = f"pixels differ by {self.pixel_error:.2g} of 255"
            by = "sizes differ" if self.pixel_error == float("inf") else by
            found.append(f"the file resizes images otherwise than frcnn does: {by}")
        if self.ap is not None:
            loss = 100 * (self.ap[1] - self.ap[0])
            # More AP than Keras would be a fault of float32 weights as well.
            if max(loss, -loss if weights == "float32" else 0.0) > MAX_AP_LOSS[weights]:
                found.append(
                    f"AP is {100 * self.ap[0]:.2f}, that of Keras {100 * self.ap[1]:.2f}; "
                    f"{MAX_AP_LOSS[weights]} points may be lost with {weights} weights"
                )
        return found


def check(
    detector: Any,
    path: pathlib.Path,
    images: Sequence[Any],
    dataset: Dataset | None = None,
    latency_runs: int = LATENCY_RUNS,
) -> Report:
    """Run an exported file, and compare its results with those of the Keras detector.

    Args:
        detector: the Keras ``frcnn.detector.Detector``.
        path: the file.
        images: images of any kind that ``Detector.predict`` takes.
        dataset: labelled images for AP; None: no AP.
        latency_runs: number of calls; the latency is their median.
    """
    opened, file_format = open_exported(path), format_of(path)
    assert opened is not None and file_format is not None  # the writer has given it its suffix
    description = opened[0]
    exported = reference.with_models(detector, FileModels(*opened))
    same_input = trusted = reference.on_same_input(detector, description)
    pixel_error = None
    if description.resizes:
        own = reference.own_resizing(detector, description)
        of_file = reference.graph_resizing(detector, description, file_format.float64)
        pixel_error = reference.pixel_error(own, of_file, [_pixels(image) for image in images])
        trusted = reference.on_resized(detector, description, own)
        same_input = reference.on_resized(detector, description, of_file)
    arrays = _network_input(exported, images[0])
    latency, keras_latency = _latencies(exported.models, trusted.models, arrays, latency_runs)
    return Report(
        description,
        file_format,
        sum(file.stat().st_size for file in files_of(path)) / 1e6,
        _agreement(same_input, exported, images),
        latency,
        keras_latency,
        _shape(description, arrays[0]),
        None if dataset is None else _ap([exported, trusted, detector], dataset),
        0 if dataset is None else len(dataset),
        pixel_error,
    )


def _agreement(one, other, images):
    """Compare two detectors, on the images and, where the size is open, on parts of them, in batches."""
    runs = [(list(images), 1)]
    if other.models.description.height is None:
        pixels = [_pixels(image) for image in images[:OPEN_SIZE_IMAGES]]
        halves = [image[: -(-len(image) // 2)] for image in pixels]  # the upper ones
        thirds = [image[:, : -(-image.shape[1] // 3)] for image in pixels]  # the left ones
        runs += [(halves, 1), (thirds, 1)]
        runs += [(view, OPEN_SIZE_BATCH) for view in (pixels, halves, thirds)]
    found = [compare(one.predict(view, size), other.predict(view, size)) for view, size in runs]
    return Agreement(
        sum(part.images for part in found),
        sum(part.detections for part in found),
        sum(part.strays for part in found),
        max(part.box_error for part in found),
        max(part.score_error for part in found),
    )


def compare(expected: Sequence[dict], others: Sequence[dict]) -> Agreement:
    """Compare detections, image by image.

    Args:
        expected, others: dicts per image with ``boxes``, ``scores`` and ``labels``, best first; with
            ``oriented``, these are compared.
    """
    total, strays, box_error, score_error = 0, 0, 0.0, 0.0
    for one, other in zip(expected, others):
        total += len(one["scores"]) + len(other["scores"])
        free = np.ones(len(other["scores"]), bool)
        boxes, other_boxes = _extents(one), _extents(other)
        for box, score, label in zip(boxes, one["scores"], one["labels"]):
            box_errors = np.abs(other_boxes - box).max(axis=1, initial=0.0)
            score_errors = np.abs(other["scores"] - score)
            fits = free & (other["labels"] == label)
            fits &= (box_errors <= MAX_BOX_ERROR) & (score_errors <= MAX_SCORE_ERROR)
            if not fits.any():
                strays += 1
                continue
            partner = np.flatnonzero(fits)[np.argmin(box_errors[fits])]
            free[partner] = False
            box_error = max(box_error, float(box_errors[partner]))
            score_error = max(score_error, float(score_errors[partner]))
        strays += int(free.sum())
    return Agreement(len(expected), total, strays, box_error, score_error)


def _extents(found):
    """Return the pixels by which boxes are compared: (M, 4) corners; of oriented boxes (M, 6).

    The last two are the extents of the oriented box along both diagonals. So a rectangle has the same
    numbers whichever of its sides is called the width, and another angle has others.
    """
    if "oriented" not in found:
        return found["boxes"]
    turned = found["oriented"] + np.array([0, 0, 0, 0, np.pi / 4], "float32")
    outer = oriented.outer(turned)
    return np.concatenate([found["boxes"], outer[:, 2:] - outer[:, :2]], axis=1)


def _ap(detectors, dataset):
    """Return the mean AP of each detector; the last two are the same where the input size is open."""
    config = detectors[-1].config
    metric = evaluator.default_metric(config, dataset)
    if detectors[0].models.description.height is None:
        detectors = detectors[:2]
    values = []
    for detector in detectors:
        found, truths = evaluator.detect(detector, dataset)
        scores = evaluator.score(found, truths, detector.classes, metric, config.detection.ap_iou)
        values.append(scores.mean_ap)
    return tuple((values + values[-1:])[:3])


def _network_input(detector, image):
    """Return an image as Detector resizes and pads it, and its size: a batch of one."""
    pixels = _pixels(image)
    if detector.models.resizes:
        return pixels[None], np.array([pixels.shape[:2]], "float32")
    resized, _ = transforms.resize(pixels, np.zeros((0, 4), "float32"), detector.config.data)
    padded = transforms.pad([resized], detector.models.size_multiple)
    return padded, np.array([resized.shape[:2]], "float32")


def _pixels(image):
    """Return an image as (H, W, 3) RGB."""
    return transforms.load(image) if isinstance(image, (str, pathlib.Path)) else np.asarray(image)


def _latencies(models, keras_models, arrays, runs):
    """Return the median seconds of both. They run in turn, so that a busy machine slows both."""
    seconds: dict[Any, list[float]] = {models: [], keras_models: []}
    for number in range(runs + 1):
        for one in seconds:
            start = time.perf_counter()
            one.predict_on_batch(arrays)
            if number:  # the first call prepares
                seconds[one].append(time.perf_counter() - start)
    return statistics.median(seconds[models]), statistics.median(seconds[keras_models])


def _shape(description, images):
    if description.resizes or description.height is None:
        return images.shape
    return (description.batch, description.height, description.width, 3)
