"""Import of detectors that were trained by keras-frcnn (yhenon, kbardool and their many forks).

Their HDF5 file has only the weights. Class order, anchors and image size are in a pickle, which is not
read: the caller gives them.

These things differ in keras-frcnn, and are converted:

- Anchors: all ratios of the first size come first, here all sizes of the first ratio. The channels of
  the RPN are put in our order.
- Ratios are factors of width and height, which may change the area: (1, 2) doubles it. Our anchors keep
  the area. Both anchors have the same centre, so the quotient of their sides is multiplied into the
  weights of dx and dy, and its logarithm is added to the bias of dw and dh. The proposals are the same.
  Fine-tuning matches objects with our anchors.
- The targets of the RPN's deltas are multiplied by 4, and those of the head by (8, 8, 4, 4). The weights
  of the RPN are divided by 4; ``roi.delta_weights`` gets the other factors.
- The preprocessing is RGB minus the mean of BGR (``caffe_rgb``). Images are resized without smoothing,
  with sides rounded down and no limit of the long side.
- The RPN is trained with anchors at the centres of the cells, but its deltas are applied to anchors at
  the corners of the cells. The head was trained with these proposals, so ``anchors.offset`` is 0.
- RoIs are rounded to whole cells and resized to 7 x 7 with one bilinear sample per bin. Ours are not
  rounded. With ``pool_samples`` 1 the numbers are the same for RoIs of 7 x 7 whole cells. For other RoIs
  they are those of TensorFlow 2's resize, except for samples at the edge of the RoI. TensorFlow 1
  samples at the upper left corners of the bins.

Their ResNet50 has a pooling without padding in its first stage, which shifts the features by two pixels
against our ``resnet50``. So it is refused.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from frcnn.config.presets import backbone_preset
from frcnn.config.schema import Config
from frcnn.detector import Detector
from frcnn.errors import ConfigError, WeightsError
from frcnn.models import freezing
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import by_name, initial

SIZES = (128.0, 256.0, 512.0)
RATIOS = ((1.0, 1.0), (1.0, 2.0), (2.0, 1.0))
RPN_SCALE = 4.0
POOL_SIZE = 7

_RENAMED = {"rpn_conv": "rpn_conv1", "head_dense1": "fc1", "head_dense2": "fc2"}


def import_keras_frcnn(
    path: str | os.PathLike,
    classes: Sequence[str] | None = None,
    short_side: int = 600,
    sizes: Sequence[float] = SIZES,
    ratios: Sequence[tuple[float, float]] = RATIOS,
) -> Detector:
    """Return a ``Detector`` with the weights of a VGG16 of keras-frcnn.

    Args:
        path: the ``.hdf5`` file, written by ``save_weights`` or ``save`` of Keras 2.
        classes: names of the object classes in the order of the training's ``class_mapping``, without
            ``bg``, its last entry; None: the classes get numbers as names.
        short_side: short side of the resized image, pixels (``im_size``).
        sizes: ``anchor_box_scales``, pixels.
        ratios: ``anchor_box_ratios``: (width, height) factors.

    Raises:
        WeightsError: it is not such a file; or layers are missing, left over or have the wrong shape.
            The message names all of them.
        ConfigError: the file has another number of classes or anchors, or a value is impossible.

    Example::

        detector = frcnn.import_keras_frcnn("model_frcnn.hdf5", classes=["car", "person"])
        detector.save("detector.weights.h5")
    """
    path = pathlib.Path(path)
    arrays = _with_names(_read(path), path)
    num_classes, width, channels = _dimensions(arrays, path)
    if classes is None:
        classes = [str(number) for number in range(1, num_classes)]
    if len(classes) != num_classes - 1:
        raise ConfigError(f"{path} has {num_classes - 1} classes without bg, not {len(classes)}")
    if not all(len(pair) == 2 and min(pair) > 0 for pair in ratios):
        raise ConfigError(f"ratios must be pairs of numbers above 0, not {ratios}")
    config = Config().replace(
        backbone_preset("vgg16")
        | {
            "data.classes": classes,
            "data.short_side": short_side,
            "data.long_side": 100_000,
            "data.interpolation": "bilinear",
            "data.size_rounding": "down",
            "model.weights": "keras-frcnn",
            "model.preprocessing": "caffe_rgb",
            "model.rpn_channels": channels,
            "model.head_width": width,
            "model.pool_size": POOL_SIZE,
            "model.pool_samples": 1,
            "anchors.sizes": sizes,
            "anchors.ratios": [height / width for width, height in ratios],
            "anchors.offset": 0.0,
            "rpn.pre_nms_test": 100_000,
            "roi.delta_weights": (8.0, 8.0, 4.0, 4.0),
            "detection.nms_iou": 0.5,
        }
    )
    found, wanted = arrays["rpn_out_class"][1].size, len(sizes) * len(ratios)
    if found != wanted:
        raise ConfigError(
            f"{path} has {found} anchors per cell, not {len(sizes)} sizes x {len(ratios)} ratios"
        )
    built = FasterRCNN.from_config(config, num_classes, allow_random_frozen=True)
    own = freezing.weighted_layers(built.detector)
    converted = _convert(arrays, own, path, num_classes, len(sizes), ratios)
    by_name.fill_layers(built.detector, converted, path)
    return Detector(built, config, config.data.classes)


def _read(path):
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    if path.suffix == ".npz":
        raise WeightsError(f"{path} is not an HDF5 file, as those of keras-frcnn are")
    return initial.read(path)


def _with_names(arrays, path):
    """Rename the two layers of the head, which are saved under the name of the wrapper TimeDistributed.

    The names end in numbers that count the wrappers: the first wrapper with weights is ``fc1``, the
    second is ``fc2``.
    """
    if "res2a_branch2a" in arrays:
        raise WeightsError(
            f"{path} is a ResNet50 of keras-frcnn. Only VGG16 can be imported: this ResNet50 has a "
            "pooling "
            "without padding, so its features are shifted against those of our resnet50"
        )
    wrappers = [name for name in arrays if re.fullmatch(r"time_distributed(_\d+)?", name)]
    wrappers.sort(key=lambda name: int(name.rpartition("_")[2]) if name[-1].isdigit() else 0)
    renamed = {} if "fc1" in arrays else dict(zip(wrappers, ("fc1", "fc2")))
    return {renamed.get(name, name): values for name, values in arrays.items()}


def _dimensions(arrays, path):
    """Return the number of classes with background, the width of the head and the RPN's channels."""
    heads = [match for name in arrays if (match := re.fullmatch(r"dense_class_(\d+)", name))]
    try:
        ((_, bias),) = [arrays[match[0]] for match in heads]
        sizes = bias.size, arrays["fc1"][1].size, arrays["rpn_conv1"][1].size
        if int(heads[0][1]) != bias.size or arrays["rpn_out_class"][1].size < 1:
            raise ValueError
    except (KeyError, ValueError, IndexError):
        raise WeightsError(
            f"{path} is not a VGG16 of keras-frcnn: dense_class_C, fc1, rpn_conv1 or rpn_out_class is "
            "missing, is there twice, or has no bias"
        ) from None
    return sizes


def _convert(arrays, own, path, num_classes, num_sizes, ratios):
    """Return {layer name: arrays} for every layer. Entries that are left over are an error."""
    names = _RENAMED | {
        "rpn_class_logits": "rpn_out_class",
        "rpn_deltas": "rpn_out_regress",
        "class_logits": f"dense_class_{num_classes}",
        "box_deltas": f"dense_regress_{num_classes}",
    }
    left, converted, missing, mismatched = dict(arrays), {}, [], []
    for layer in own:
        name = names.get(layer.name, layer.name)
        if name not in left:
            missing.append(name)
            continue
        values = left.pop(name)
        found = [tuple(value.shape) for value in values]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if found != expected:
            mismatched.append(f"{name} is {found} and must be {expected}")
            continue
        if layer.name == "rpn_class_logits":
            values = [_by_ratio(value, num_sizes, len(ratios), 1) for value in values]
        if layer.name == "rpn_deltas":
            values = _rescaled([_by_ratio(value, num_sizes, len(ratios), 4) for value in values], ratios)
        converted[layer.name] = values
    by_name.refuse_mismatched(f"{path} does not fit keras-frcnn's VGG16", missing, left, mismatched)
    return converted


def _by_ratio(array, num_sizes, num_ratios, values):
    """Reorder the last axis from (sizes, ratios, values) to (ratios, sizes, values)."""
    split = array.reshape(*array.shape[:-1], num_sizes, num_ratios, values)
    return np.swapaxes(split, -3, -2).reshape(array.shape)


def _rescaled(kernel_and_bias, ratios):
    """Convert the layer of the RPN's deltas from their anchors and factor 4 to our anchors.

    Args:
        kernel_and_bias: the two arrays, with the channels in our order.
        ratios: (width, height) factors.
    """
    kernel, bias = (array.reshape(*array.shape[:-1], len(ratios), -1, 4) for array in kernel_and_bias)
    # The sides of their anchors divided by the sides of ours.
    stretch = np.array([math.sqrt(width * height) for width, height in ratios])[:, None, None]
    factor = np.concatenate([stretch, stretch, np.ones_like(stretch), np.ones_like(stretch)], axis=-1)
    bias = bias / RPN_SCALE * factor + np.log(stretch) * [0.0, 0.0, 1.0, 1.0]
    kernel = kernel / RPN_SCALE * factor
    return [
        array.reshape(old.shape).astype("float32") for array, old in zip((kernel, bias), kernel_and_bias)
    ]
