"""torchvision's Faster R-CNN weights, entry by entry, as arrays for our layers.

What a state must hold follows from the layers that are to be filled: their names give the entries'
names, their weights the shapes. Each entry is used once, and none may be left over.

What differs, besides the names: convolutions are OIHW there and HWIO here; dense layers are transposed;
the first of them reads its region channel by channel there and cell by cell here; background is the
first class there and the last here; and background has box deltas there, which nothing ever reads.

Letters: K channels, P pool size, C classes with background.
"""

import re

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

# The classes 1 to 90 of weights trained on COCO, whose category numbers have gaps.
COCO_CLASSES = tuple(
    category or f"unused {number}"
    for number, category in enumerate(_COCO_CATEGORIES.strip().replace("\n", "|").split("|"), start=1)
)

_CLASS_WEIGHT = "roi_heads.box_predictor.cls_score.weight"
# Counts the steps of a batch normalization that was not frozen. We have no use for it, but a state
# either has one for each or, from frozen ones, none.
_COUNTER = "num_batches_tracked"

# Layers outside the backbone, without their number, and the module each is in torchvision. ``part`` is
# 0 for a convolution and 1 for its normalization, ``index`` the number counted from 0.
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

# Entries as files from before torchvision 0.13 name them, and how they are named since.
_RENAMED = (
    (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2"),
    (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)", r"\1.0.\2"),
)

# The axes of torchvision's weight in the order of our kernel's.
_AXES = {layers.Conv2D: (2, 3, 1, 0), layers.DepthwiseConv2D: (2, 3, 0, 1), layers.Dense: (1, 0)}

# What to do about background, which comes first there: move it to the end, or drop its deltas.
_CLASSES_FIRST = {
    "class_logits": lambda array: np.roll(array, -1, axis=0),
    "box_deltas": lambda array: array[4:],
}


def check_name(name):
    """Raise ``WeightsError`` unless ``name`` is one of ``NAMES``."""
    if name not in NAMES:
        raise WeightsError(f"there is no import for {name!r}, only for {', '.join(NAMES)}")


def num_classes(state):
    """Return C of a state.

    Raises:
        WeightsError: the class predictor's weights are missing.
    """
    if _CLASS_WEIGHT not in state:
        raise WeightsError(f"the state has no {_CLASS_WEIGHT}")
    return int(np.shape(state[_CLASS_WEIGHT])[0])


def batch_norm_epsilon(name, state):
    """Return what batch normalization must add to the variance for a state to give its own numbers.

    It is 1e-5, but 0 where a ``fasterrcnn_resnet50_fpn`` was trained with frozen batch normalization:
    the published weights were, by code that added nothing, and torchvision sets it so when it loads
    them. A state does not hold the number. One whose frozen backbone came from ImageNet, and not from
    the published detector, wants 1e-5 as well.
    """
    frozen = not any(entry.endswith(_COUNTER) for entry in state)
    return 0.0 if name == "fasterrcnn_resnet50_fpn" and frozen else conv.EPSILON


def convert(name, state, model_layers, pool_size=7):
    """Return {layer name: arrays in the order of its weights} for every layer.

    Args:
        name: of the state's builder in torchvision, one of ``NAMES``.
        state: {entry name: array}; entries named as before torchvision 0.13 are understood.
        model_layers: the Keras layers that have weights.
        pool_size: P.

    Raises:
        WeightsError: ``name`` is not known; or entries are missing, left over or of the wrong shape,
            all of which it names.
    """
    check_name(name)
    left = _with_new_names(state)
    has_counters = any(entry.endswith(_COUNTER) for entry in left)
    depth = sum(layer.name.startswith("head_conv") for layer in model_layers) // 2
    arrays, missing, mismatched = {}, [], []
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
                mismatched.append(f"{entry} is {array.shape} and should be {shape}")
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
        # Should both be there, the old one stays under its own name, to be left over.
        renamed[entry if new in state else new] = array
    return renamed


def _module(layer_name, depth):
    """Return the torchvision module that a layer is, given how many convolutions its head has."""
    kind, number, norm = re.fullmatch(r"(.*?)(\d*)(_bn)?", layer_name).groups()
    index = int(number or 1) - 1
    if kind in _MODULES:
        return _MODULES[kind].format(number=number, index=index, part=int(norm is not None))
    if kind == "head_dense":
        # Behind convolutions it stands in one row with them, the flattening and each activation.
        return f"roi_heads.box_head.{depth + 1 + 2 * index if depth else f'fc{6 + index}'}"
    return "backbone.body." + layer_name.removeprefix("features_").replace("_", ".")


def parameters(layer, pool_size, has_counters):
    """List a layer's parameters: name and shape in torchvision, and the function to ours, if any.

    Args:
        layer: a Keras layer: a convolution, a dense layer or a batch normalization.
        pool_size: P of the regions that the head's first dense layer reads.
        has_counters: whether the state counts the steps of its batch normalizations.
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
