"""Converts a state dict of torchvision's Faster R-CNN to the arrays of our layers.

The names and shapes of the model's layers determine the entries that the state dict must have. Each
entry is used once, and none may be left over.

Besides the names, these things differ:

- Kernels of convolutions are OIHW in torchvision and HWIO in Keras. Kernels of dense layers are
  transposed.
- The first dense layer gets the pooled RoI flattened in the order channel, row, column in torchvision,
  and row, column, channel here.
- Background is the first class in torchvision and the last here. torchvision also has box deltas for
  background, which are never used.

K: channels, P: pool size, C: classes with background.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from frcnn.errors import WeightsError
from frcnn.layers import conv
from frcnn.weights.by_name import refuse_mismatched

NAMES = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)

_COCO_CATEGORIES = """
person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant||stop sign
parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe||backpack|umbrella|||handbag
tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard
tennis racket|bottle||wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot
hot dog|pizza|donut|cake|chair|couch|potted plant|bed||dining table|||toilet||tv|laptop|mouse|remote
keyboard|cell phone|microwave|oven|toaster|sink|refrigerator||book|clock|vase|scissors|teddy bear
hair drier|toothbrush
"""

# Names of the classes 1 to 90 of weights trained on COCO. Some numbers are not used.
COCO_CLASSES = tuple(
    category or f"unused {number}"
    for number, category in enumerate(_COCO_CATEGORIES.strip().replace("\n", "|").split("|"), start=1)
)

_CLASS_WEIGHT = "roi_heads.box_predictor.cls_score.weight"
# The number of steps of a batch normalization. It is not used here. A state dict has it for all layers
# of batch normalization, or for none if they were frozen.
_COUNTER = "num_batches_tracked"

# {layer name without its number: module in torchvision} of the layers outside the backbone. ``part`` is
# 0 for a convolution and 1 for its normalization. ``number`` is the layer's number, ``index`` counts
# from 0.
_MODULES = {
    "fpn_lateral": "backbone.fpn.inner_blocks.{number}.{part}",
    "fpn_output": "backbone.fpn.layer_blocks.{number}.{part}",
    "rpn_conv": "rpn.head.conv.{index}.0",
    "rpn_class_logits": "rpn.head.cls_logits",
    "rpn_deltas": "rpn.head.bbox_pred",
    "head_conv": "roi_heads.box_head.{index}.{part}",
    "class_logits": "roi_heads.box_predictor.cls_score",
    "box_deltas": "roi_heads.box_predictor.bbox_pred",
}

# (pattern of an entry's name before torchvision 0.13, its name since then)
_RENAMED = (
    (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2"),
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
)

# The axes of torchvision's weight, in the order of the axes of Keras' kernel.
_AXES = {layers.Conv2D: (2, 3, 1, 0), layers.DepthwiseConv2D: (2, 3, 0, 1), layers.Dense: (1, 0)}

# Background comes first in torchvision: its logit is moved to the end, and its deltas are dropped.
_CLASSES_FIRST = {
    "class_logits": lambda array: np.roll(array, -1, axis=0),
    "box_deltas": lambda array: array[4:],
}


def check_name(name: str) -> None:
    """Raise ``WeightsError`` unless ``name`` is one of ``NAMES``."""
    if name not in NAMES:
        raise WeightsError(f"there is no import for {name!r}, only for {', '.join(NAMES)}")


def num_classes(state: Mapping[str, Any]) -> int:
    """Return C of a state dict.

    Raises:
        WeightsError: the weights of the class predictor are missing.
    """
    if _CLASS_WEIGHT not in state:
        raise WeightsError(f"the state has no {_CLASS_WEIGHT}")
    return int(np.shape(state[_CLASS_WEIGHT])[0])


def batch_norm_epsilon(name: str, state: Mapping[str, Any]) -> float:
    """Return the epsilon of batch normalization with which a state dict was trained.

    It is 1e-5, except for a ``fasterrcnn_resnet50_fpn`` with frozen batch normalization, where it is 0:
    the published weights were trained with 0, and torchvision sets it when it loads them. The state dict
    does not contain the number. If a frozen backbone was not trained from the published detector but
    from ImageNet's weights, give 1e-5 yourself (``import_torchvision``).
    """
    frozen = not any(entry.endswith(_COUNTER) for entry in state)
    return 0.0 if name == "fasterrcnn_resnet50_fpn" and frozen else conv.EPSILON


def convert(
    name: str, state: Mapping[str, Any], model_layers: Sequence[keras.layers.Layer], pool_size: int = 7
) -> dict[str, list[np.ndarray]]:
    """Return {layer name: arrays in the order of its weights} for every layer.

    Args:
        name: torchvision's function that builds the detector, one of ``NAMES``.
        state: {entry name: array}; the names of before torchvision 0.13 are accepted.
        model_layers: the Keras layers with weights.
        pool_size: P.

    Raises:
        WeightsError: ``name`` is not known; or entries are missing, left over or have the wrong shape.
            The message names all of them.
    """
    check_name(name)
    left = _with_new_names(state)
    has_counters = any(entry.endswith(_COUNTER) for entry in left)
    depth = sum(layer.name.startswith("head_conv") for layer in model_layers) // 2
    arrays: dict[str, list[np.ndarray]] = {}
    missing, mismatched = [], []
    for layer in model_layers:
        module = _module(layer.name, depth)
        arrays[layer.name] = []
        for parameter, shape, turn in parameters(layer, pool_size, has_counters):
            entry = f"{module}.{parameter}"
            if entry not in left:
                missing.append(entry)
                continue
            array = np.asarray(left.pop(entry))
            if array.shape != shape:
                mismatched.append(f"{entry} is {array.shape} and must be {shape}")
            elif turn is not None:
                arrays[layer.name].append(np.ascontiguousarray(turn(array), "float32"))
    refuse_mismatched(f"the state does not fit {name}", missing, left, mismatched)
    return arrays


def _with_new_names(state):
    renamed = {}
    for entry, array in state.items():
        new = entry
        for pattern, replacement in _RENAMED:
            new = re.sub(f"^{pattern}$", replacement, new)
        # If both are there, the old one keeps its name, so that it is reported as left over.
        renamed[entry if new in state else new] = array
    return renamed


def _module(layer_name, depth):
    """Return the name of a layer's module in torchvision.

    Args:
        layer_name: name of the layer.
        depth: number of convolutions in the head.
    """
    kind, number, norm = re.fullmatch(r"(.*?)(\d*)(_bn)?", layer_name).groups()
    index = int(number or 1) - 1
    if kind in _MODULES:
        return _MODULES[kind].format(number=number, index=index, part=int(norm is not None))
    if kind == "head_dense":
        # After convolutions the modules are numbered: convolutions, flattening, dense layers,
        # activations.
        return f"roi_heads.box_head.{depth + 1 + 2 * index if depth else f'fc{6 + index}'}"
    return "backbone.body." + layer_name.removeprefix("features_").replace("_", ".")


def parameters(
    layer: keras.layers.Layer, pool_size: int, has_counters: bool
) -> list[tuple[str, tuple[int, ...], Callable | None]]:
    """Return (name, shape, conversion) of each parameter that a layer has in torchvision.

    The conversion is a function from torchvision's array to the layer's; None: the parameter is not
    used.

    Args:
        layer: a convolution, a dense layer or batch normalization.
        pool_size: P of the pooled RoIs, the input of the head's first dense layer.
        has_counters: whether the state dict has the numbers of steps of batch normalization.
    """
    if isinstance(layer, layers.BatchNormalization):
        names = ("weight", "bias", "running_mean", "running_var")
        shape = tuple(layer.gamma.shape)
        return [(name, shape, np.asarray) for name in names] + [(_COUNTER, (), None)] * has_counters
    kernel, *bias = [tuple(weight.shape) for weight in layer.weights]
    axes = next(axes for kind, axes in _AXES.items() if isinstance(layer, kind))
    weight = tuple(kernel[axis] for axis in np.argsort(axes))
    classes_first = _CLASSES_FIRST.get(layer.name, np.asarray)

    def turn(array):
        array = classes_first(array)
        if layer.name == "head_dense1":
            array = array.reshape(len(array), -1, pool_size, pool_size)
            return array.transpose(2, 3, 1, 0).reshape(kernel)
        return array.transpose(axes)

    parameters = [("weight", weight, turn)] + [("bias", shape, classes_first) for shape in bias]
    if layer.name == "box_deltas":
        parameters = [(n, (shape[0] + 4, *shape[1:]), function) for n, shape, function in parameters]
    return parameters
