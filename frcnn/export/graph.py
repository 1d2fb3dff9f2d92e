"""A detector as one TensorFlow function with named inputs and outputs, which all formats start from.

Input ``images`` (B, H, W, 3) raw RGB, 0 to 255, padded at the right and the bottom; ``image_sizes``
(B, 2) height and width without padding, pixels. A graph that resizes takes ``images`` of any size
without padding, and nothing else. Output ``boxes`` (B, M, 4) pixels of the input, or (B, M, 5) oriented
boxes; ``scores`` (B, M) falling, ``labels`` (B, M) int32, -1 for padding, ``num_detections`` (B,) int32.

The network is the one that is trained: the same layers, traced once more. Where a format lacks
TensorFlow's kernels, the layers choose others (``frcnn.backend.portable_kernels``).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import tensorflow as tf

from frcnn.data.transforms import PADDING_RGB
from frcnn.errors import ConfigError
from frcnn.export import resizing
from frcnn.export.metadata import Dtype, Metadata, Weights
from frcnn.models.faster_rcnn import FasterRCNN

LARGE = 2**20  # numbers in a large matrix
OUTPUTS = ("boxes", "scores", "labels", "num_detections")


@dataclasses.dataclass(frozen=True)
class InputShape:
    """The input of an exported file.

    Attributes:
        height, width: pixels; None: any.
        batch: images; None: any number.
        resizes: whether images of any size are resized to these sides inside the file.
    """

    height: int | None
    width: int | None
    batch: int | None = 1
    resizes: bool = False

    @property
    def room(self) -> tuple[int, int] | None:
        """Height and width, None where they are open."""
        return None if self.height is None or self.width is None else (self.height, self.width)


class ExportedGraph(tf.Module):
    """A detector's graph, with the variables that it reads.

    Args:
        models: the network, in float32.
        shape: shape of the input.
        dtype: dtype of the input ``images``: ``"uint8"`` or ``"float32"``.
        kernels: function to a context in which the graph is traced, such as ``portable_kernels``.
        float64: whether the format computes in it.

    Attributes:
        serve: the ``tf.function``.
        dense_kernels: function to the variables that are large matrices, as of VGG16's head.

    Example:
        >>> graph = ExportedGraph(models, InputShape(608, 800), "uint8", portable_kernels)
        >>> found = graph.serve(images, image_sizes)  # a dict of OUTPUTS
    """

    def __init__(
        self,
        models: FasterRCNN,
        shape: InputShape,
        dtype: Dtype,
        kernels: Callable[[], AbstractContextManager],
        float64: bool = True,
    ):
        super().__init__()
        detector = models.detector
        self.tracked = [variable.value for variable in detector.variables]  # a SavedModel wants them
        matrices = [variable for variable in detector.variables if len(variable.shape) == 2]
        large = [variable for variable in matrices if np.prod(variable.shape) >= LARGE]
        self.dense_kernels = lambda: large  # a list would become a part of a SavedModel

        def serve(images: tf.Tensor, image_sizes: tf.Tensor) -> dict[str, tf.Tensor]:
            with kernels():
                pixels = tf.cast(images, tf.float32)
                boxes, scores, labels = detector([pixels, image_sizes], training=False)
            count = tf.reduce_sum(tf.cast(scores > 0.0, tf.int32), axis=1)
            return dict(zip(OUTPUTS, (boxes, scores, labels, count)))

        def resize_and_serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
            data, multiple = models.config.data, models.size_multiple
            pixels, new = resizing.resize(images, data, multiple, shape.room, float64)
            found = serve(pixels, tf.tile(new[None], (tf.shape(images)[0], 1)))
            factors = new / tf.cast(tf.shape(images)[1:3], tf.float32)
            return found | {"boxes": resizing.unscaled(found["boxes"], factors[::-1])}

        if shape.resizes:
            images = tf.TensorSpec((shape.batch, None, None, 3), dtype, "images")
            self.serve = tf.function(resize_and_serve, input_signature=[images], autograph=False)
            return
        images = tf.TensorSpec((shape.batch, shape.height, shape.width, 3), dtype, "images")
        sizes = tf.TensorSpec((shape.batch, 2), tf.float32, "image_sizes")
        self.serve = tf.function(serve, input_signature=[images, sizes], autograph=False)

    def save(self, path: pathlib.Path | str, signature: str) -> None:
        """Write the graph as a SavedModel.

        Args:
            path: the new folder.
            signature: name of the function ``serve`` in it.

        Raises:
            OSError: it cannot be written.
        """
        try:
            tf.saved_model.save(self, str(path), signatures={signature: self.serve})
        except tf.errors.OpError as error:  # TensorFlow writes by its own file system
            raise OSError(str(error.message).partition("\n")[0]) from error


def in_float32(models: FasterRCNN) -> FasterRCNN:
    """Return the network if it computes in float32, otherwise a copy that does."""
    if models.config.train.precision == "float32":
        return models
    config = models.config.replace({"train.precision": "float32"})
    copy = FasterRCNN.from_config(config, models.num_classes, allow_random_frozen=True)
    copy.detector.set_weights(models.detector.get_weights())
    return copy


def fixed_shape(models: FasterRCNN, size: tuple[int, int] | None) -> InputShape:
    """Return the shape of one image per call.

    Args:
        models: whose ``size_multiple`` the sides must be multiples of.
        size: height and width; None: the short and the long side that images are resized to, for images
            that are wider than high.

    Raises:
        ConfigError: a side is not such a multiple.
    """
    multiple = models.size_multiple
    if size is None:
        data = models.config.data
        short, long = min(data.short_side, data.long_side), data.long_side
        height, width = (-(-side // multiple) * multiple for side in (short, long))
        return InputShape(height, width)
    for side in size:
        if side < multiple or side % multiple:
            raise ConfigError(
                f"the input of {size[0]}x{size[1]} pixels does not fit {models.config.model.backbone}: "
                f"its sides must be multiples of {multiple}"
            )
    return InputShape(*size)


def describe(detector: Any, shape: InputShape, dtype: Dtype, weights: Weights) -> Metadata:
    """Return the description of an exported detector.

    Args:
        detector: ``frcnn.detector.Detector``.
        shape, dtype: shape and dtype of the input.
        weights: precision of the stored weights.
    """
    config = detector.config.replace({"data.classes": detector.classes, "train.precision": "float32"})
    return Metadata(
        classes=detector.classes,
        height=shape.height,
        width=shape.width,
        batch=shape.batch,
        resizes=shape.resizes,
        size_multiple=detector.models.size_multiple,
        dtype=dtype,
        weights=weights,
        preprocessing=config.model.preprocessing,
        short_side=config.data.short_side,
        long_side=config.data.long_side,
        padding=PADDING_RGB,
        score_threshold=config.detection.score_threshold,
        nms_iou=config.detection.nms_iou,
        max_detections=config.detection.max_detections,
        config=config.to_json(),
    )
