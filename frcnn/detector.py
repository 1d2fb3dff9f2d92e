"""A trained Faster R-CNN, for images of any size."""

import pathlib

import numpy as np

from frcnn import checkpoints, models
from frcnn.config import Config
from frcnn.data import augment
from frcnn.errors import ConfigError


class Detector:
    """Detects objects with the sub-models of a run.

    Args:
        models: ``frcnn.models.Models``.
        config: the ``Config`` they were built from.
        classes: the object classes' names.
    """

    def __init__(self, models, config, classes):
        self.models = models
        self.config = config
        self.classes = tuple(classes)

    @classmethod
    def load(cls, run, weights="best.weights.h5"):
        """Return the detector that a training run left in its folder.

        Args:
            run: the folder.
            weights: which of its weight files.

        Raises:
            ConfigError, WeightsError: a file is missing or does not fit.
        """
        path = pathlib.Path(run) / "config.json"
        if not path.is_file():
            raise ConfigError(f"{run} is not a training run: it has no config.json")
        config = Config().updated_from_json(path.read_text(encoding="utf-8"), str(path))
        built = models.build(config, len(config.data.classes))
        checkpoints.load(built, path.parent / weights)
        return cls(built, config, config.data.classes)

    def predict(self, images):
        """Return the detections in images of any sizes.

        Args:
            images: list of (H, W, 3) uint8 RGB arrays or paths.

        Returns:
            A dict an image: ``boxes`` (M, 4) float32 pixels of that image, ``scores`` (M,) falling,
            ``labels`` (M,) int32, ``names`` of the labels.
        """
        results, data = [], self.config.data
        for image in images:
            pixels = image if isinstance(image, np.ndarray) else augment.load(str(image))
            no_boxes = np.zeros((0, 4), "float32")
            resized, _ = augment.resize(pixels, no_boxes, data.short_side, data.long_side)
            size = np.array([resized.shape[:2]], "float32")
            padded = augment.pad([resized], self.models.stride)
            results += self.detect(padded, size, [pixels.shape[:2]])
        for result in results:
            result["names"] = [self.classes[label] for label in result["labels"]]
        return results

    def detect(self, images, image_sizes, original_sizes):
        """Return the detections in a batch.

        Args:
            images: (B, H, W, 3) uint8, resized and padded.
            image_sizes: (B, 2) height and width without padding, pixels of the network input.
            original_sizes: (height, width) of each image's file.

        Returns:
            A dict an image: ``boxes`` (M, 4) float32 pixels of the file, ``scores`` (M,) falling,
            ``labels`` (M,) int32.
        """
        boxes, scores, labels = self.models.detector.predict_on_batch([images, image_sizes])
        results = []
        for row, (height, width) in enumerate(original_sizes):
            found = scores[row] > 0.0
            stretch = np.array(
                [width / image_sizes[row, 1], height / image_sizes[row, 0]] * 2, "float32"
            )
            results.append(
                {
                    "boxes": boxes[row][found] * stretch,
                    "scores": scores[row][found],
                    "labels": labels[row][found],
                }
            )
        return results
