"""Detectors that the old keras-frcnn trainers wrote (yhenon, kbardool and their many forks), as ours.

Their HDF5 file holds weights alone: what else belongs to them (class order, anchors, image size) lies
in a pickle beside it, which ``keras_frcnn_config`` reads, or has to be told.

What differs there, and where it goes:

- Anchors are numbered size by size, then ratio by ratio, here the other way round: the RPN's channels
  are put in our order.
- Ratios are pairs of factors for width and height that need not keep the area: (1, 2) doubles it.
  Ours keep it. The same box from another anchor is the same centre, so the quotient of the two sides
  goes into the weights of dx and dy, its logarithm into the bias of dw and dh. Proposals are equal;
  in fine-tuning, our anchors are what objects are assigned to.
- The RPN learns deltas times 4; the head's are times (8, 8, 4, 4). The first is divided out of the
  weights, the second is our ``roi.delta_weights``.
- Channels come as RGB, minus the mean in BGR's order (``caffe_rgb``). Images are enlarged or reduced
  without smoothing, sides rounded down, the long one without limit.
- The RPN is trained on anchors centred in their cells, but its deltas are then applied to anchors
  centred on the cells' corners; on those proposals the head was trained, so that is our offset: 0.
- Regions are cut out at whole cells and resized to 7 x 7, one bilinear sample a bin. Ours are not
  rounded: ``pool_samples`` 1 gives the same numbers where a region is 7 x 7 whole cells, and those of
  TensorFlow 2's resize for all others, but for the samples at a region's edge. TensorFlow 1's put the
  samples at the bins' upper left corners.

Their ResNet50 pools its stem without padding, so its cells lie two pixels off those of our
``resnet50``; it is refused, rather than imported a little wrong.
"""

import math
import pathlib
import re

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


def import_keras_frcnn(path, classes=None, short_side=600, sizes=SIZES, ratios=RATIOS):
    """Return a ready ``Detector`` with the weights of a keras-frcnn VGG16.

    Args:
        path: the ``.hdf5`` file, as ``save_weights`` or ``save`` of Keras 2 wrote it.
        classes: the object classes' names in the order of the training's ``class_mapping``, without
            ``bg``, which is its last; None: numbers.
        short_side: of the resized image, pixels (``im_size``).
        sizes: ``anchor_box_scales``, pixels.
        ratios: ``anchor_box_ratios``: (width, height) factors.

    Raises:
        WeightsError: not such a file; or layers are missing, left over or of the wrong shape, all of
            which it names.
        ConfigError: classes or anchors of another number than the file's, or impossible values.
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
        raise ConfigError(f"{path} has {found} anchors a cell, not {len(sizes)} sizes x {len(ratios)}")
    built = FasterRCNN.from_config(config, num_classes, allow_random_frozen=True)
    own = freezing.weighted_layers(built.detector)
    converted = _convert(arrays, own, path, num_classes, len(sizes), ratios)
    by_name.fill_layers(built.detector, converted, path)
    return Detector(built, config, config.data.classes)


def _read(path):
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    if path.suffix == ".npz":
        raise WeightsError(f"{path} is no HDF5 file, which keras-frcnn's are")
    return initial.read(path)


def _with_names(arrays, path):
    """Return the arrays with the two unnamed layers of the head under the names of what they wrap.

    ``TimeDistributed`` is saved under its own name, a number that counts up as layers are made: the
    first with weights is ``fc1``, the second ``fc2``.
    """
    if "res2a_branch2a" in arrays:
        raise WeightsError(
            f"{path} is keras-frcnn's ResNet50. Only its VGG16 can be imported: its ResNet pools the "
            "stem without padding, so that its features lie elsewhere than those of our resnet50"
        )
    wrappers = [name for name in arrays if re.fullmatch(r"time_distributed(_\d+)?", name)]
    wrappers.sort(key=lambda name: int(name.rpartition("_")[2]) if name[-1].isdigit() else 0)
    renamed = {} if "fc1" in arrays else dict(zip(wrappers, ("fc1", "fc2")))
    return {renamed.get(name, name): values for name, values in arrays.items()}


def _dimensions(arrays, path):
    """Return the number of classes with background, the head's width and the RPN's channels."""
    heads = [match for name in arrays if (match := re.fullmatch(r"dense_class_(\d+)", name))]
    try:
        ((_, bias),) = [arrays[match[0]] for match in heads]
        sizes = bias.size, arrays["fc1"][1].size, arrays["rpn_conv1"][1].size
        if int(heads[0][1]) != bias.size or arrays["rpn_out_class"][1].size < 1:
            raise ValueError
    except (KeyError, ValueError, IndexError):
        raise WeightsError(
            f"{path} is no VGG16 of keras-frcnn: among dense_class_C, fc1, rpn_conv1 and rpn_out_class "
            "some are missing, more than one, or without a bias"
        ) from None
    return sizes


def _convert(arrays, own, path, num_classes, num_sizes, ratios):
    """Return {our layer's name: arrays} for every layer, and make sure that nothing is left over."""
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
            mismatched.append(f"{name} is {found} and should be {expected}")
            continue
        if layer.name == "rpn_class_logits":
            values = [_by_ratio(value, num_sizes, len(ratios), 1) for value in values]
        if layer.name == "rpn_deltas":
            values = _rescaled([_by_ratio(value, num_sizes, len(ratios), 4) for value in values], ratios)
        converted[layer.name] = values
    by_name.refuse_mismatched(f"{path} does not fit keras-frcnn's VGG16", missing, left, mismatched)
    return converted


def _by_ratio(array, num_sizes, num_ratios, values):
    """Turn the last axis from (sizes, ratios, values) to (ratios, sizes, values)."""
    split = array.reshape(*array.shape[:-1], num_sizes, num_ratios, values)
    return np.swapaxes(split, -3, -2).reshape(array.shape)


def _rescaled(kernel_and_bias, ratios):
    """Make of deltas for anchors of their sides, times 4, such for anchors that keep their area."""
    kernel, bias = (array.reshape(*array.shape[:-1], len(ratios), -1, 4) for array in kernel_and_bias)
    # Both sides of their anchor in those of ours.
    stretch = np.array([math.sqrt(width * height) for width, height in ratios])[:, None, None]
    factor = np.concatenate([stretch, stretch, np.ones_like(stretch), np.ones_like(stretch)], axis=-1)
    bias = bias / RPN_SCALE * factor + np.log(stretch) * [0.0, 0.0, 1.0, 1.0]
    kernel = kernel / RPN_SCALE * factor
    return [
        array.reshape(old.shape).astype("float32") for array, old in zip((kernel, bias), kernel_and_bias)
    ]
