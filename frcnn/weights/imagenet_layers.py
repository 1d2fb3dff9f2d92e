"""Arrays of ImageNet's classification networks, for the layers of our backbones and heads.

Each function takes what a file holds, {name: list of arrays} of layers or {name: array} of a state dict,
and the model's layers, and returns {our layer's name: arrays}; what was not used keeps the file's name.

Two differences are folded into the batch normalization, which gives the same numbers: a convolution's
bias is subtracted from the mean, and the difference of the epsilons is added to the variance.

VGG16's two hidden dense layers fill the head (Girshick 2015, section 4.1): ``head_dense1`` is fc6 and
``head_dense2`` is fc7. Keras flattens the 7x7x512 features row, column, channel, as we do; torchvision
flattens channel, row, column.
"""

import re

import numpy as np
from keras import layers

from frcnn.models import mobilenet_v3
from frcnn.weights import torchvision_state

# What the dense layers of VGG16 fit: 7 x 7 x 512 numbers in, 4096 out.
VGG16_POOL_SIZE, VGG16_WIDTH = 7, 4096

# torchvision's ``features.N`` of each convolution.
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

# What each network's batch normalization adds to the variance.
KERAS_RESNET_EPSILON = 1.001e-5
TORCHVISION_RESNET_EPSILON = 1e-5
MOBILENET_V3_EPSILON = 1e-3


# --- from keras.applications -----------------------------------------------------------------


def keras_vgg16(entries, model_layers):
    """The convolutions have our names; the dense layers go to the head."""
    named = {"fc1": "head_dense1", "fc2": "head_dense2"}
    arrays = {named.get(name, name): values for name, values in entries.items()}
    return _with_whole_head(arrays, model_layers)


def as_it_is(entries, model_layers):
    """The backbone is keras.applications' own."""
    return dict(entries)


def keras_resnet(entries, model_layers):
    """Either into keras.applications' own ResNet, or into ``frcnn.models.resnet``."""
    if not any(layer.name == "layer1_0_conv1" for layer in model_layers):
        return dict(entries)  # resnet50: the backbone is keras.applications' own
    return _keras_folded(entries, model_layers, _keras_resnet_name, KERAS_RESNET_EPSILON)


def keras_mobilenet_v3(entries, model_layers):
    """Into ``frcnn.models.mobilenet_v3``."""
    # Its stem and its last convolution were once called as a convolution of another network is.
    entries = {"conv_1" if name == "Conv_1" else name: values for name, values in entries.items()}
    return _keras_folded(entries, model_layers, _keras_mobilenet_v3_name, MOBILENET_V3_EPSILON)


def _keras_folded(entries, model_layers, name_of, epsilon):
    """Rename layers, and fold what differs into the batch normalization."""
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
            values = values[:1]  # without the bias, which the normalization has taken
        arrays[layer.name] = values
    return arrays | left


def fold(norm, bias, epsilon):
    """Return gamma, beta, mean and variance that take over a bias and a difference of epsilons."""
    gamma, beta, mean, variance = (np.asarray(value, "float32") for value in norm)
    return [gamma, beta, mean - np.float32(bias), variance + np.float32(epsilon)]


def _convolution_of(norm):
    """Return the convolution before one of keras.applications' batch normalizations."""
    name = norm.removesuffix("_bn")
    return f"{name}_conv" if re.match(r"conv\d", name) else name


def _keras_resnet_name(name):
    """Return what keras.applications calls a layer of ``models.resnet``; None for another layer."""
    stem = {"conv1": "conv1_conv", "bn1": "conv1_bn"}
    match = re.fullmatch(r"layer(\d)_(\d+)_(conv|bn|downsample_)(\d)", name)
    if not match:
        return stem.get(name)
    stage, number, kind, part = match.groups()
    if kind == "downsample_":
        kind, part = ("conv", "bn")[int(part)], 0
    return f"conv{int(stage) + 1}_block{int(number) + 1}_{part}_{kind}"


def _keras_mobilenet_v3_name(name):
    """Return what keras.applications calls a layer of ``mobilenet_v3``; None for another layer."""
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


def torchvision(module_of, epsilon=None):
    """Return the conversion of a state dict.

    Args:
        module_of: from our layer's name to torchvision's module, None where it has none.
        epsilon: of its batch normalization.
    """

    def convert(entries, model_layers):
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
    """Take the parameters of a module out of a state dict, turned as our layer has them."""
    left.pop(f"{module}.num_batches_tracked", None)
    values = []
    for parameter, shape, turn in torchvision_state.parameters(layer, VGG16_POOL_SIZE, False):
        array = left.pop(f"{module}.{parameter}", None)
        if array is not None:
            # One of another shape is only to be shown in the account.
            values.append(turn(array) if array.shape == shape else np.transpose(array))
    return values


def vgg16_module(name):
    dense = {"head_dense1": "classifier.0", "head_dense2": "classifier.3"}
    return f"features.{_VGG16_INDICES[name]}" if name in _VGG16_INDICES else dense.get(name)


def resnet_module(name):
    is_resnet = name in ("conv1", "bn1") or re.fullmatch(r"layer\d_\d+_\w+", name)
    return name.replace("_", ".") if is_resnet else None


def mobilenet_v3_module(name):
    return name.replace("_", ".") if name.startswith("features_") else None


def numbered(entries, model_layers):
    """``Conv_k`` and ``Dense_k``: the backbone's convolutions and the head's dense layers, in order."""
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
    """Return the arrays without fc7 where fc6 does not fit: what it reads would be another thing."""
    first = [layer for layer in model_layers if layer.name == "head_dense1"]
    wanted = [tuple(weight.shape) for layer in first for weight in layer.weights]
    found = [tuple(np.shape(array)) for array in arrays.get("head_dense1", ())]
    if found == wanted:
        return arrays
    return {name: values for name, values in arrays.items() if name != "head_dense2"}
