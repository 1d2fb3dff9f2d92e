"""A trained Faster R-CNN for images of any size, loaded from a run directory or a file.

B: images, H x W: pixels, M: detections, E: numbers per box.
"""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from frcnn.config import in_weights
from frcnn.config.schema import Config, DataConfig
from frcnn.data import build, image_arrays, transforms
from frcnn.data.detections import to_image_pixels
from frcnn.data.recognise import recognise
from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError, WeightsError
from frcnn.evaluation import evaluator
from frcnn.export import formats
from frcnn.export.runner import FileModels
from frcnn.files import outputs
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops import tiles, views
from frcnn.weights import detector_files

WINDOW = 4  # number of batches whose images are sorted by size, so that equal sizes share a batch


class Detector:
    """Detects objects in images of any size.

    Args:
        models: the network, or ``FileModels`` of an exported file.
        config: the settings from which the network was built.
        classes: names of the object classes.
    """

    def __init__(self, models: FasterRCNN | FileModels, config: Config, classes: Iterable[str]):
        self.models = models
        self.config = config
        self.classes = tuple(classes)

    @classmethod
    def load(
        cls,
        path: str | pathlib.Path,
        weights: str | None = None,
        settings: Mapping[str, Any] | None = None,
        default_score: float | None = None,
    ) -> Detector:
        """Load a detector from a run directory, or a file of ``save`` or ``frcnn export``.

        Args:
            path: the run directory or the file. An exported file runs in the runtime of its format.
            weights: name of a weight file in the run directory; None: ``best.weights.h5``.
            settings: {key: value} of settings of the section ``detection`` to change, such as
                ``{"detection.score_threshold": 0.5}``. Of an exported file, only the score threshold can
                be changed.
            default_score: score threshold if ``settings`` has none. For an exported file, the larger of
                this and the file's threshold is used. None: the threshold of the run or the file.

        Raises:
            WeightsError: a file is missing, damaged or does not fit.
            ConfigError: a setting cannot be changed, or the file has no config.

        Example::

            detector = frcnn.Detector.load("runs/first", settings={"detection.classes": "cat,dog"})
        """
        others = [key for key in settings or {} if not key.startswith("detection.")]
        if others:
            raise ConfigError(f"{others[0]} is fixed by the weights; only detection.* can be changed")
        if weights and pathlib.Path(path).is_file():
            raise ConfigError(
                f"{path} is a file, so no weights can be chosen in it: leave out {weights}, or give the "
                "run directory"
            )
        if exported := formats.load_models(pathlib.Path(path)):
            fixed = [key for key in settings or {} if key != "detection.score_threshold"]
            if fixed:
                raise ConfigError(f"{path} is an exported file, in which {fixed[0]} is fixed")
            models, description = exported
            if default_score is not None:
                default_score = max(default_score, description.score_threshold)
            config = description.full_config(path).replace(_with_score(settings, default_score))
            models.least_score = config.detection.score_threshold
            if models.least_score < description.score_threshold:
                raise ConfigError(
                    f"{path} was exported with a score threshold of {description.score_threshold:g}, "
                    f"below which it finds nothing: {models.least_score:g} is lower"
                )
            return cls(models, config, description.classes)
        file = in_weights.file_of(path, weights or "best.weights.h5")
        if not file.is_file():
            raise WeightsError(f"{path} is not a training run or a saved detector: there is no {file}")
        text = in_weights.read(file)
        if text is None:
            raise ConfigError(f"{file} is not a file of a detector: it has no config")
        config = Config().updated_from_json(text, f"the config in {file}")
        if not config.data.classes:
            raise ConfigError(f"{file} is not a file of a detector: its config names no class")
        config = config.replace(_with_score(settings, default_score))
        built = FasterRCNN.from_config(config, len(config.data.classes) + 1, allow_random_frozen=True)
        detector_files.load(built, file)
        return cls(built, config, config.data.classes)

    def save(self, path: str | pathlib.Path, overwrite: bool = False) -> None:
        """Write the detector to one HDF5 file: weights, and the config as JSON. Nothing is pickled.

        Args:
            path: the file to write, such as ``detector.weights.h5``.
            overwrite: whether to replace a file that exists.

        Raises:
            OutputError: the file exists, or cannot be written.
            WeightsError: this detector was loaded from an exported file.
        """
        if isinstance(self.models, FileModels):
            raise WeightsError("a detector from an exported file cannot be saved: copy the file instead")
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
        """Compute the detector's AP on labelled images.

        Args:
            data: a ``Dataset`` with the detector's classes, or a folder of labelled images.
            split: for a folder, as for ``frcnn.load_dataset``.
            metric: ``"voc07"`` (11-point AP), ``"voc12"`` (area under the curve), ``"coco"``, or
                ``"oriented"`` (as ``"voc12"``, with the IoU of oriented boxes).
            iou_threshold: IoU from which a detection counts as a hit, for all metrics except ``"coco"``.

        Returns:
            ``Scores``: ``mean_ap``, ``table`` as text, ``values`` for JSON.

        Raises:
            DataError: the data cannot be read, or have other classes.
            ConfigError: an unknown metric.

        Example::

            print(detector.evaluate("my_images", split="val").table)
        """
        if not isinstance(data, Dataset):
            named = None if split in ("train", "val") else split
            settings, _ = recognise(data, named, named)
            config = self.config.replace({"data.year": ""} | settings).data
            names = {"train": config.train_split, "val": config.val_split}
            data = build.load_split(config, names.get(split, split), self.classes)
        found, truths = evaluator.detect(self, data)
        return evaluator.score(found, truths, self.classes, metric, iou_threshold)

    def predict(
        self, images: Any, batch_size: int = 1, tile: int | None = None, overlap: float = 0.2
    ) -> list[dict[str, Any]]:
        """Return the detections in images of any sizes.

        Args:
            images: one image; a list, iterator or generator of images; or a (B, H, W, 3) array. An image
                is an array (H, W, 3) of RGB, (H, W) of grey or (H, W, 4) of RGBA, a Pillow image, or a
                path. An image from a path is rotated as its EXIF orientation says. Values are from 0 to
                255; floats may be from 0 to 1, and uint16 from 0 to 65535.
            batch_size: images per batch, at most.
            tile: cut images that are larger than this into tiles with this side, pixels, to find small
                objects (``frcnn.ops.tiles``); None: no tiles.
            overlap: neighbouring tiles overlap by at least this share of a tile, 0 to 0.9;
                ``overlap * tile`` should be larger than the objects.

        Returns:
            One dict per image: ``boxes`` (M, 4) float32 in pixels of that image, ``scores`` (M,) in
            falling order, ``labels`` (M,) int32, and ``names``, the classes of the labels. For oriented
            boxes also ``oriented`` (M, 5); then ``boxes`` are the axis-aligned boxes around them.

        Raises:
            DataError: one of the images is none of these, or cannot be read.
            ConfigError: ``batch_size``, ``tile`` or ``overlap`` is impossible.

        Example::

            for found in detector.predict(["a.jpg", "b.jpg"], batch_size=2):
                print(found["names"], found["scores"], found["boxes"])
        """
        return list(self.stream(images, batch_size, tile, overlap))

    def stream(
        self, images: Any, batch_size: int = 1, tile: int | None = None, overlap: float = 0.2
    ) -> Iterator[dict[str, Any]]:
        """Yield the dicts that ``predict`` returns, image by image, while the images are read.

        At most ``WINDOW`` batches of images are in memory. Among these, images with equal padded sizes
        share a batch. The detections in an image do not depend on the other images. Arguments and
        errors: see ``predict``.

        Example::

            for found in detector.stream(frames_of("video.mp4"), batch_size=8):
                print(len(found["scores"]))
        """
        if batch_size < 1:
            raise ConfigError(f"batch_size must be 1 or more, not {batch_size}")
        numbered = enumerate(image_arrays.each(images))
        pixels = (image_arrays.to_rgb(image, number) for number, image in numbered)
        if tile is None:
            results = self._whole(pixels, batch_size)
        else:
            results = self._tiled(pixels, batch_size, tile, overlap)
        for found in results:
            yield found | {"names": [self.classes[label] for label in found["labels"]]}

    def _whole(self, images: Iterator[np.ndarray], batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield the detections in (H, W, 3) images."""
        size = batch_size * (WINDOW if batch_size > 1 else 1)
        settings = self.config.detection
        data_configs = evaluator.views_of(self.config)
        while window := list(itertools.islice(images, size)):
            each = [self._one_size(window, data, batch_size) for data in data_configs]
            if len(each) == 1:
                yield from each[0]
                continue
            for found in zip(*each):
                yield views.merge(found, settings.nms_iou, settings.max_detections)

    def _one_size(
        self, images: Sequence[np.ndarray], data: DataConfig, batch_size: int
    ) -> list[dict[str, Any]]:
        """Return the detections in (H, W, 3) images that are resized as ``data`` says."""
        inputs = [self._input(image, data) for image in images]
        results: list[dict[str, Any]] = [{} for _ in inputs]

        def shape(number):
            return inputs[number][1].shape

        for _, group in itertools.groupby(sorted(range(len(inputs)), key=shape), key=shape):
            for numbers in _batches(group, batch_size):
                sizes, padded, originals = zip(*(inputs[number] for number in numbers))
                found = self.detect(np.stack(padded), np.array(sizes, "float32"), originals)
                for number, result in zip(numbers, found):
                    results[number] = result
        return results

    def _tiled(
        self, images: Iterator[np.ndarray], batch_size: int, tile: int, overlap: float
    ) -> Iterator[dict[str, Any]]:
        """Yield the detections in (H, W, 3) images that are cut into tiles."""
        settings = self.config.detection
        for image in images:
            windows = tiles.windows(image.shape[1], image.shape[0], tile, overlap)
            crops = (image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows)
            found = list(self._whole(crops, batch_size))
            yield tiles.merge(found, windows, settings.nms_iou, settings.max_detections)

    def _input(self, pixels, data):
        """Return an image's (height, width) after resizing, its padded pixels, and its own size."""
        if isinstance(self.models, FileModels) and self.models.resizes:
            return pixels.shape[:2], pixels, pixels.shape[:2]
        resized, _ = transforms.resize(pixels, np.zeros((0, 4), "float32"), data)
        padded = transforms.pad([resized], self.models.size_multiple)[0]
        return resized.shape[:2], padded, pixels.shape[:2]

    def detect(
        self, images: np.ndarray, image_sizes: np.ndarray, original_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, np.ndarray]]:
        """Return the detections in a batch of images that are already resized and padded.

        With ``detection.flip`` also those of the mirrored images, merged by NMS.

        Args:
            images: (B, H, W, 3) RGB, 0 to 255.
            image_sizes: (B, 2) height and width without padding, pixels of the network input.
            original_sizes: (height, width) of each image before it was resized, pixels.

        Returns:
            One dict per image, as ``to_image_pixels``.
        """
        settings = self.config.detection

        def of_view(pixels):
            outputs = self.models.detector.predict_on_batch([pixels, image_sizes])
            return to_image_pixels(*outputs, image_sizes, original_sizes)

        found = of_view(images)
        if settings.flip:
            mirrored = of_view(views.mirror_images(images, image_sizes))
            options = settings.nms_iou, settings.max_detections
            for row, (_, width) in enumerate(original_sizes):
                both = found[row], views.mirror_boxes(mirrored[row], width)
                found[row] = views.merge(both, *options)
        return found


def _with_score(settings, default):
    """Return the settings, with a score threshold where they have none and there is a default."""
    given = {} if default is None else {"detection.score_threshold": default}
    return given | dict(settings or {})


def _batches(numbers, size):
    """Split numbers into lists of at most ``size``."""
    numbers = list(numbers)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
