"""Converts the arrays of classification networks for the layers of the backbones and heads.

Each function takes the content of a file, {name: list of arrays} of layers or {name: array} of a state
dict, and the model's layers. It returns {layer name: arrays}. Arrays that are not used keep their name
in the file.

Two differences are folded into the batch normalization, which gives the same features: the bias of a
convolution is subtracted from the mean, and the difference of the epsilons is added to the variance.

The two hidden dense layers of VGG16 become the head (Girshick 2015, section 4.1): ``head_dense1`` is fc6
and ``head_dense2`` is fc7. Keras and frcnn flatten the 7x7x512 features in the order row, column,
channel; torchvision flattens them in the order channel, row, column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from frcnn.models import mobilenet_v3
from frcnn.weights import torchvision_state

Arrays = dict[str, Any]
Layers = Sequence[keras.layers.Layer]

# The dense layers of VGG16 have 7 x 7 x 512 inputs and 4096 outputs.
VGG16_POOL_SIZE, VGG16_WIDTH = 7, 4096

# {layer name: N of torchvision's ``features.N``}
_VGG16_INDICES = {
    "block1_conv1": 0,
    "block1_conv2": 2,
    "block2_conv1": 5,
    "block2_conv2": 7,
    "block3_conv1": 10,
    "block3_conv2": 12,
    "block3_conv3": 14,
    "block4_conv1": 17,
    "block4_conv2": 19,
    "block4_conv3": 21,
    "block5_conv1": 24,
    "block5_conv2": 26,
    "block5_conv3": 28,
}

# Epsilon of each network's batch normalization.
KERAS_RESNET_EPSILON = 1.001e-5
TORCHVISION_RESNET_EPSILON = 1e-5
MOBILENET_V3_EPSILON = 1e-3


# --- from keras.applications -----------------------------------------------------------------


def keras_vgg16(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert VGG16: the convolutions keep their names, the dense layers become the head."""
    named = {"fc1": "head_dense1", "fc2": "head_dense2"}
    arrays = {named.get(name, name): values for name, values in entries.items()}
    return _with_whole_head(arrays, model_layers)


def as_it_is(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert nothing: the backbone is the network of ``keras.applications``."""
    return dict(entries)


def keras_convnext(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert ConvNeXt: the file has the two layers of its stem, and of each change of size, as one."""
    arrays = dict(entries)
    for name in [name for name in arrays if re.search(r"_(stem|downsampling_block_\d)$", name)]:
        # convnext_tiny_downsampling_block_0 has convnext_tiny_downsampling_conv_0
        start, _, number = name.partition("_block_")
        parts = [
            layer
            for layer in model_layers
            if layer.name.startswith(f"{start}_") and layer.name.endswith(number and f"_{number}")
        ]
        values = arrays.pop(name)
        for layer in parts:
            arrays[layer.name], values = values[: len(layer.weights)], values[len(layer.weights) :]
    return arrays


def keras_resnet(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert ResNet for ``frcnn.models.resnet``; nothing for ``keras.applications``' own ResNet."""
    if not any(layer.name == "layer1_0_conv1" for layer in model_layers):
        return dict(entries)
    return _keras_folded(entries, model_layers, _keras_resnet_name, KERAS_RESNET_EPSILON)


def keras_mobilenet_v3(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert MobileNetV3 for ``frcnn.models.mobilenet_v3``."""
    # Old files have the name Conv_1 for the last convolution, which is also a name in MobileNetV2.
    entries = {"conv_1" if name == "Conv_1" else name: values for name, values in entries.items()}
    return _keras_folded(entries, model_layers, _keras_mobilenet_v3_name, MOBILENET_V3_EPSILON)


def _keras_folded(entries, model_layers, name_of, epsilon):
    """Rename layers, and fold biases and the difference of the epsilons into batch normalization.

    Args:
        entries: {name in the file: list of arrays}.
        model_layers: layers of the model.
        name_of: function from a layer's name to its name in the file, or None.
        epsilon: epsilon of the network's batch normalization.
    """
    left, arrays = dict(entries), {}
    for layer in model_layers:
        name = name_of(layer.name)
        if name not in left:
            continue
        values = left.pop(name)
        if isinstance(layer, layers.BatchNormalization) and len(values) == 4:
            bias = entries[_convolution_of(name)][1:]
            values = fold(values, bias[0] if bias else 0.0, epsilon - layer.epsilon)
        elif len(layer.weights) == 1:
            values = values[:1]  # without the bias, which is folded into the normalization
        arrays[layer.name] = values
    return arrays | left


def fold(norm: Sequence[Any], bias: Any, epsilon: float) -> list[np.ndarray]:
    """Fold the bias of the convolution and a difference of epsilons into batch normalization.

    Args:
        norm: gamma, beta, mean and variance, each (K,).
        bias: (K,), or 0.
        epsilon: epsilon of the file's network minus epsilon of the layer.

    Returns:
        The new gamma, beta, mean and variance, float32.
    """
    gamma, beta, mean, variance = (np.asarray(value, "float32") for value in norm)
    return [gamma, beta, mean - np.float32(bias), variance + np.float32(epsilon)]


def _convolution_of(norm):
    """Return the name of the convolution before a batch normalization of ``keras.applications``."""
    name = norm.removesuffix("_bn")
    return f"{name}_conv" if re.match(r"conv\d", name) else name


def _keras_resnet_name(name):
    """Return the name in ``keras.applications`` of a layer of ``models.resnet``; None for others."""
    stem = {"conv1": "conv1_conv", "bn1": "conv1_bn"}
    match = re.fullmatch(r"layer(\d)_(\d+)_(conv|bn|downsample_)(\d)", name)
    if not match:
        return stem.get(name)
    stage, number, kind, part = match.groups()
    if kind == "downsample_":
        kind, part = ("conv", "bn")[int(part)], 0
    return f"conv{int(stage) + 1}_block{int(number) + 1}_{part}_{kind}"


def _keras_mobilenet_v3_name(name):
    """Return the name in ``keras.applications`` of a layer of ``mobilenet_v3``; None for others."""
    ends = {
        "features_0_0": "conv",
        "features_0_1": "conv_bn",
        "features_16_0": "conv_1",
        "features_16_1": "conv_1_bn",
    }
    match = re.fullmatch(r"features_(\d+)_block_(\d)_(fc1|fc2|0|1)", name)
    if not match:
        return ends.get(name)
    number, step, part = int(match[1]), int(match[2]), match[3]
    block = "expanded_conv" if number == 1 else f"expanded_conv_{number - 1}"
    if part in ("fc1", "fc2"):
        return f"{block}_squeeze_excite_conv" + ("_1" if part == "fc2" else "")
    steps = [] if number == 1 else ["expand"]  # the first block keeps its 16 channels
    steps += ["depthwise"] + ["squeeze"] * mobilenet_v3.BOTTLENECKS[number - 1].squeeze + ["project"]
    return f"{block}_{steps[step]}" + ("_bn" if part == "1" else "")


# --- from torchvision, and from .npz files ---------------------------------------------------


def torchvision(
    module_of: Callable[[str], str | None], epsilon: float = 0.0
) -> Callable[[Mapping[str, Any], Layers], Arrays]:
    """Return the function that converts a state dict of torchvision.

    Args:
        module_of: function from a layer's name to the name of torchvision's module, or None.
        epsilon: epsilon of the network's batch normalization, if it has any.
    """

    def convert(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
        left, arrays = dict(entries), {}
        for layer in model_layers:
            module = module_of(layer.name)
            values = _module_arrays(left, module, layer) if module else []
            if isinstance(layer, layers.BatchNormalization) and len(values) == 4:
                values = fold(values, 0.0, epsilon - layer.epsilon)
            if values:
                arrays[layer.name] = values
        arrays |= {name: [value] for name, value in left.items()}
        return _with_whole_head(arrays, model_layers)

    return convert


def _module_arrays(left, module, layer):
    """Take the parameters of a module out of a state dict, with the axes in the layer's order."""
    left.pop(f"{module}.num_batches_tracked", None)
    values = []
    for parameter, shape, turn in torchvision_state.parameters(layer, VGG16_POOL_SIZE, False):
        array = left.pop(f"{module}.{parameter}", None)
        if array is not None:
            # With another shape it is not loaded; the load report shows its shape.
            values.append(turn(array) if array.shape == shape else np.transpose(array))
    return values


def vgg16_module(name: str) -> str | None:
    """Return the name of the module in torchvision's VGG16 for a layer; None if there is none."""
    dense = {"head_dense1": "classifier.0", "head_dense2": "classifier.3"}
    return f"features.{_VGG16_INDICES[name]}" if name in _VGG16_INDICES else dense.get(name)


def resnet_module(name: str) -> str | None:
    """Return the name of the module in torchvision's ResNet for a layer; None if there is none."""
    is_resnet = name in ("conv1", "bn1") or re.fullmatch(r"layer\d_\d+_\w+", name)
    return name.replace("_", ".") if is_resnet else None


def mobilenet_v3_module(name: str) -> str | None:
    """Return the name of the module in torchvision's MobileNetV3 for a layer; None if there is none."""
    return name.replace("_", ".") if name.startswith("features_") else None


def numbered(entries: Mapping[str, Any], model_layers: Layers) -> Arrays:
    """Convert ``Conv_k`` and ``Dense_k``: the backbone's convolutions and the head's dense layers."""
    convolutions = [
        layer.name
        for layer in model_layers
        if isinstance(layer, layers.Conv2D) and not layer.name.startswith("rpn_")
    ]
    dense = [layer.name for layer in model_layers if layer.name.startswith("head_dense")]
    arrays, left = {}, dict(entries)
    for kind, ours in (("Conv", convolutions), ("Dense", dense)):
        number = 0
        while f"{kind}_{number}/kernel" in left:
            name = ours[number] if number < len(ours) else f"{kind}_{number}"
            arrays[name] = [left.pop(f"{kind}_{number}/{part}") for part in ("kernel", "bias")]
            number += 1
    arrays |= {name: [value] for name, value in left.items()}
    return _with_whole_head(arrays, model_layers)


def _with_whole_head(arrays, model_layers):
    """Drop fc7 if fc6 does not fit, because the inputs of fc7 would be others."""
    first = [layer for layer in model_layers if layer.name == "head_dense1"]
    wanted = [tuple(weight.shape) for layer in first for weight in layer.weights]
    found = [tuple(np.shape(array)) for array in arrays.get("head_dense1", ())]
    if found == wanted:
        return arrays
    return {name: values for name, values in arrays.items() if name != "head_dense2"}
