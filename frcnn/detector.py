"""A trained Faster R-CNN, for images of any size; in a run's folder or in a file of its own."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.data import build, transforms
from frcnn.data.recognise import recognise
from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError, DataError, WeightsError
from frcnn.evaluation import evaluator
from frcnn.files import outputs
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import detector_files


class Detector:
    """Detects objects with the sub-models of a run.

    Args:
        models: ``frcnn.models.faster_rcnn.FasterRCNN``.
        config: the ``Config`` they were built from.
        classes: the object classes' names.
    """

    def __init__(self, models: FasterRCNN, config: Config, classes: Iterable[str]):
        self.models = models
        self.config = config
        self.classes = tuple(classes)

    @classmethod
    def load(cls, path: str | pathlib.Path, weights: str | None = None) -> Detector:
        """Return the detector in a training run's folder or in a file that ``save`` wrote.

        Args:
            path: the folder or the file.
            weights: which of a folder's weight files; None: ``best.weights.h5``.

        Raises:
            ConfigError, WeightsError: a file is missing, damaged or does not fit.
        """
        if weights and pathlib.Path(path).is_file():
            raise ConfigError(f"{path} is a file of weights itself, in which {weights} cannot be chosen")
        file = in_weights.file_of(path, weights or "best.weights.h5")
        if not file.is_file():
            raise WeightsError(f"{path} is not a training run or a saved detector: there is no {file}")
        text = in_weights.read(file)
        if text is None:
            raise ConfigError(f"{file} is not a detector's file: it holds no config")
        config = Config().updated_from_json(text, f"the config in {file}")
        if not config.data.classes:
            raise ConfigError(f"{file} is not a detector's file: its config names no class")
        built = FasterRCNN.from_config(config, len(config.data.classes) + 1, allow_random_frozen=True)
        detector_files.load(built, file)
        return cls(built, config, config.data.classes)

    def save(self, path: str | pathlib.Path, overwrite: bool = False) -> None:
        """Write the detector to one HDF5 file: weights, and the config as JSON. Nothing is pickled.

        Args:
            path: the file.
            overwrite: whether a file that exists is replaced.

        Raises:
            OutputError: the file exists, or cannot be written.
        """
        path = outputs.new_file(path, overwrite)
        with outputs.writing(path):
            detector_files.save(self.models, self.config.replace({"data.classes": self.classes}), path)

    def evaluate(
        self,
        data: Dataset | str | os.PathLike,
        split: str = "val",
        metric: str = "voc12",
        iou_threshold: float = 0.5,
    ) -> evaluator.Scores:
        """Score the detector on labelled images.

        Args:
            data: a ``Dataset`` with the detector's classes, or a folder of labelled images.
            split: of a folder: ``"train"`` and ``"val"`` are those that ``frcnn.train`` would use; other
                names are those of files in ``ImageSets/Main``.
            metric: ``"voc07"`` (11-point AP), ``"voc12"`` (area under the curve) or ``"coco"``.
            iou_threshold: of the VOC metrics.

        Returns:
            ``Scores``: ``mean_ap``, ``table`` to read, ``values`` for JSON.

        Raises:
            DataError: the data cannot be read, or have other classes.
            ConfigError: an unknown metric.
        """
        if not isinstance(data, Dataset):
            named = None if split in ("train", "val") else split
            settings, _ = recognise(data, named, named)
            config = self.config.replace({"data.year": ""} | settings).data
            names = {"train": config.train_split, "val": config.val_split}
            data = build.load_split(config, names.get(split, split), self.classes)
        found, truths = evaluator.detect(self, data)
        return evaluator.score(found, truths, self.classes, metric, iou_threshold)

    def predict(self, images: Any, batch_size: int = 1) -> list[dict[str, Any]]:
        """Return the detections in images of any sizes.

        Images whose padded sizes are equal share a batch and a compiled graph; what is found in one
        does not depend on the others.

        Args:
            images: one image or a list of them: an (H, W, 3) RGB array or an (H, W) grey one, numbers
                of any type from 0 to 255; a Pillow image; or a path, whose image is turned upright as
                its EXIF says. An array or a Pillow image is taken as it is.
            batch_size: images per batch, at most.

        Returns:
            A list with a dict per image: ``boxes`` (M, 4) float32 pixels of that image, ``scores`` (M,)
            falling, ``labels`` (M,) int32, ``names`` of the labels.

        Raises:
            DataError: something is not such an image.
            ConfigError: ``batch_size`` is not 1 or more.
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {batch_size}")
        if not isinstance(images, (list, tuple)):
            images = [images]
        inputs = [self._input(image, number) for number, image in enumerate(images)]
        results: list[dict[str, Any]] = [{} for _ in inputs]

        def shape(number):
            return inputs[number][1].shape

        for _, group in itertools.groupby(sorted(range(len(inputs)), key=shape), key=shape):
            for numbers in _batches(group, batch_size):
                sizes, padded, originals = zip(*(inputs[number] for number in numbers))
                found = self.detect(np.stack(padded), np.array(sizes, "float32"), originals)
                for number, result in zip(numbers, found):
                    names = [self.classes[label] for label in result["labels"]]
                    results[number] = {**result, "names": names}
        return results

    def _input(self, image, number):
        """Return an image's size as resized, its padded pixels, and its own size (height, width)."""
        pixels = _pixels(image, number)
        resized, _ = transforms.resize(pixels, np.zeros((0, 4), "float32"), self.config.data)
        padded = transforms.pad([resized], self.models.size_multiple)[0]
        return resized.shape[:2], padded, pixels.shape[:2]

    def detect(
        self, images: np.ndarray, image_sizes: np.ndarray, original_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, np.ndarray]]:
        """Return the detections in a batch.

        Args:
            images: (B, H, W, 3), resized and padded.
            image_sizes: (B, 2) height and width without padding, pixels of the network input.
            original_sizes: (height, width) of each image's file.

        Returns:
            A dict per image: ``boxes`` (M, 4) float32 pixels of the file, ``scores`` (M,) falling,
            ``labels`` (M,) int32.
        """
        boxes, scores, labels = self.models.detector.predict_on_batch([images, image_sizes])
        return to_image_pixels(boxes, scores, labels, image_sizes, original_sizes)


def to_image_pixels(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    image_sizes: np.ndarray,
    original_sizes: Sequence[tuple[int, int]],
) -> list[dict[str, np.ndarray]]:
    """Return the detections of a batch in the pixels of the image files, without padding.

    Args:
        boxes, scores, labels: (B, M, 4), (B, M), (B, M) arrays from ``FasterRCNN.detector``.
        image_sizes: (B, 2) height and width without padding, pixels of the network input.
        original_sizes: (height, width) of each image's file; images at the end may have none.

    Returns:
        A dict per image: ``boxes`` (M, 4) float32 pixels of the file, ``scores`` (M,) falling,
        ``labels`` (M,) int32.
    """
    results = []
    for row, (height, width) in enumerate(original_sizes):
        found = scores[row] > 0.0
        stretch = np.array([width / image_sizes[row, 1], height / image_sizes[row, 0]] * 2, "float32")
        results.append(
            {
                "boxes": boxes[row][found] * stretch,
                "scores": scores[row][found],
                "labels": labels[row][found],
            }
        )
    return results


def _pixels(image, number):
    """Return any kind of image as an (H, W, 3) array of RGB."""
    if isinstance(image, (str, pathlib.Path)):
        return transforms.load(str(image))
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F"):
            raise DataError(f"image {number} is a Pillow image of mode {image.mode}, of unknown range")
        if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off at 255
            return np.repeat((np.asarray(image) >> 8).astype("uint8")[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image)
    wanted = "numbers from 0 to 255: (H, W, 3) RGB or (H, W) grey, a Pillow image or a path"
    if pixels.ndim == 4:
        raise DataError(f"image {number} has the shape {pixels.shape}; give a batch as list(batch)")
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        raise DataError(
            f"image {number} has four channels, {pixels.shape}; RGB are wanted: of RGBA, image[..., :3]"
        )
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if not is_image or 0 in pixels.shape or pixels.dtype.kind not in "uif":
        raise DataError(f"image {number} must be {wanted}, not {pixels.dtype} {pixels.shape}")
    _check_range(pixels, number)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return pixels if pixels.dtype == np.uint8 else pixels.astype("float32")


def _check_range(pixels, number):
    """Raise a ``DataError`` for an array whose numbers are not 0 to 255, as far as that can be told."""
    if pixels.dtype == np.uint8:
        return
    if not np.isfinite(pixels).all():
        raise DataError(f"image {number} holds numbers that are not finite")
    low, high = pixels.min(), pixels.max()
    found = f"image {number} holds {pixels.dtype} numbers from {low:g} to {high:g}; 0 to 255 are wanted"
    if low < -0.5 or high > 255.5:  # what rounds to 0 or 255 is the noise of a resizing
        advice = ": of 16 bits, image // 256" if pixels.dtype == np.uint16 else ""
        raise DataError(found + advice)
    # All black is the same in both ranges.
    if pixels.dtype.kind == "f" and 0 < high <= 1:
        raise DataError(f"{found}: of 0 to 1, 255 * image")


def _batches(numbers, size):
    numbers = list(numbers)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
