"""The classification networks whose ImageNet weights can be used for the backbones.

A network is recognised by the names in its weight file. The network determines the preprocessing of the
pixels, the backbones that its weights fit, and the variant of the network:

- ResNet of ``keras.applications`` has the stride of a stage in its first 1x1 convolution, as He et al.
  2016; torchvision's ResNet has it in the 3x3 convolution.
- MobileNetV2 and V3 of ``keras.applications`` pad strided layers below and on the right only;
  torchvision's pad all sides.

With the same weights, the other variant computes other features. So the variant of the file is built
(``model.variant``), or the file is refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable

from frcnn.weights import imagenet_layers as convert

VARIANTS = KERAS, TORCHVISION = "keras", "torchvision"

_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications/"
_VGG16_FULL = (
    _APPLICATIONS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
    "64373286793e3c8b2b4e3219cbf3544b",
)
VGG16_CONVOLUTIONS = (
    _APPLICATIONS + "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "6d6bbae143d832006294945121d1f1fc",
)
_RESNET50 = (
    _APPLICATIONS + "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "4d473c1dd8becc155b73f8504c6f6626",
)
_RESNET101 = (
    _APPLICATIONS + "resnet/resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "88cf7a10940856eca736dc7b7e228a21",
)
_MOBILENET_V2 = (
    _APPLICATIONS + "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    None,
)
_MOBILENET_V3 = (
    _APPLICATIONS + "mobilenet_v3/weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5",
    "07fb09a5933dd0c8eaafa16978110389",
)

# The checksums of ConvNeXt and EfficientNet are SHA-256 and MD5; Keras tells them by their length.
_CONVNEXT_TINY = (
    _APPLICATIONS + "convnext/convnext_tiny_notop.h5",
    "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
)
_EFFICIENTNETV2_B0 = (
    _APPLICATIONS + "efficientnet_v2/efficientnetv2-b0_notop.h5",
    "893217f2bb855e2983157299931e43ff",
)
_RESNET50V2 = (
    _APPLICATIONS + "resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "fac2f116257151a9d068a22e544a4917",
)

# Official address and checksum of each backbone's ImageNet weights, as in keras.applications.
DOWNLOADS = {
    "vgg16": _VGG16_FULL,
    "resnet50": _RESNET50,
    "mobilenet_v2": _MOBILENET_V2,
    "mobilenet_v2_fpn": _MOBILENET_V2,
    "resnet50_fpn": _RESNET50,
    "resnet101_fpn": _RESNET101,
    "resnet50_fpn_v2": _RESNET50,
    "mobilenet_v3_large_fpn": _MOBILENET_V3,
    "convnext_tiny_fpn": _CONVNEXT_TINY,
    "efficientnetv2_b0_fpn": _EFFICIENTNETV2_B0,
    "resnet50v2_fpn": _RESNET50V2,
}

# Backbones that can be built in both variants.
VARIANT_BACKBONES = ("resnet50_fpn", "resnet101_fpn", "resnet50_fpn_v2", "mobilenet_v3_large_fpn")
_RESNET50S = ("resnet50_fpn", "resnet50_fpn_v2")


@dataclasses.dataclass(frozen=True)
class Network:
    """A published classification network.

    Attributes:
        title: its name in messages.
        preprocessing: a mode of ``preprocess.Preprocess``.
        variant: ``KERAS`` or ``TORCHVISION``. It matters only for ``VARIANT_BACKBONES``.
        backbones: names of the backbones that its weights fit; None: all with the same shapes.
        convert: function from {name in the file: arrays} and the model's layers to {layer name: arrays}.
            Arrays that are not used keep their name in the file.
    """

    title: str
    preprocessing: str
    variant: str
    backbones: tuple[str, ...] | None
    convert: Callable


def recognise(names: Iterable[str]) -> Network | None:
    """Return the ``Network`` whose weight file has these names; None if it is none of them."""
    names = {current_name(name) for name in names}
    if names & _DETECTOR_LAYERS:
        return None
    return next((network for marks, network in _NETWORKS if names >= marks), None)


def titles_for(backbone: str) -> list[str]:
    """Return the titles of the networks whose weights fit a backbone."""
    return [network.title for _, network in _NETWORKS if backbone in (network.backbones or ())]


def current_name(name: str) -> str:
    """Return the current name of a layer in Keras. The files of its MobileNets have older names."""
    match = re.fullmatch(r"(mobl|bn)(\d+)_conv_\2_(?:bn_)?(expand|depthwise|project)", name)
    if match:
        kind, number, part = match.groups()
        block = "expanded_conv" if number == "0" else f"block_{number}"
        return f"{block}_{part}" + ("_BN" if kind == "bn" else "")
    match = re.fullmatch(r"(expanded_conv(?:_\d+)?)/(.+)", name)
    if match:  # MobileNetV3: expanded_conv_3/squeeze_excite/Conv_1, expanded_conv/depthwise/BatchNorm
        block, part = match.groups()
        part = part.replace("/BatchNorm", "_bn").replace("squeeze_excite/Conv", "squeeze_excite_conv")
        return f"{block}_{part}"
    return _OLD_STEM.get(name, name)


_OLD_STEM = {"Conv/BatchNorm": "conv_bn", "Conv_1/BatchNorm": "conv_1_bn", "Conv": "conv"}


# --- how each network is recognised ----------------------------------------------------------

# Names in the files of detectors, which are not classification networks.
_DETECTOR_LAYERS = {"class_logits", "box_deltas", "rpn_conv", "rpn_out_class", "rpn_out_regress"}


def _unusable(title):
    """Return a network that fits no backbone, though some of its names are the same."""
    return Network(title, "none", KERAS, (), convert.as_it_is)


# (names that the file must have, network). The first that fits is taken.
_NETWORKS = (
    ({"block5_conv4"}, _unusable("VGG19 of keras.applications")),
    ({"post_bn", "conv4_block23_1_conv"}, _unusable("ResNet101V2 or 152V2 of keras.applications")),
    (
        {"post_bn", "conv4_block6_1_conv"},
        Network("ResNet50V2 of keras.applications", "tf", KERAS, ("resnet50v2_fpn",), convert.as_it_is),
    ),
    (
        {"block4a_dwconv2", "block6i_project_conv"},
        _unusable("another EfficientNetV2 of keras.applications"),
    ),
    (
        {"block4a_dwconv2", "block6h_project_conv"},
        Network(
            "EfficientNetV2B0 of keras.applications",
            "torch",
            KERAS,
            ("efficientnetv2_b0_fpn",),
            convert.as_it_is,
        ),
    ),
    (
        {"convnext_tiny_stage_2_block_8_depthwise_conv"},
        Network(
            "ConvNeXtTiny of keras.applications",
            "torch",
            KERAS,
            ("convnext_tiny_fpn",),
            convert.keras_convnext,
        ),
    ),
    ({"conv4_block36_1_conv"}, _unusable("ResNet152 of keras.applications")),
    ({"features.0.weight", "features.1.running_mean"}, _unusable("a VGG with batch normalization")),
    ({"features.0.weight", "features.34.weight"}, _unusable("VGG19 of torchvision")),
    ({"features.1.conv.0.0.weight"}, _unusable("MobileNetV2 of torchvision")),
    ({"layer3.23.conv3.weight"}, _unusable("ResNet152 of torchvision")),
    (
        {"block1_conv1", "block5_conv3"},
        Network("VGG16 of keras.applications", "caffe", KERAS, ("vgg16",), convert.keras_vgg16),
    ),
    (
        {"conv1_conv", "conv4_block23_1_conv"},
        Network(
            "ResNet101 of keras.applications", "caffe", KERAS, ("resnet101_fpn",), convert.keras_resnet
        ),
    ),
    (
        {"conv1_conv", "conv4_block6_1_conv"},
        Network(
            "ResNet50 of keras.applications",
            "caffe",
            KERAS,
            ("resnet50", *_RESNET50S),
            convert.keras_resnet,
        ),
    ),
    (
        {"Conv1", "expanded_conv_depthwise"},
        Network(
            "MobileNetV2 of keras.applications",
            "tf",
            KERAS,
            ("mobilenet_v2", "mobilenet_v2_fpn"),
            convert.as_it_is,
        ),
    ),
    (
        {"conv", "expanded_conv_14_depthwise"},
        Network(
            "MobileNetV3Large of keras.applications",
            "tf",
            KERAS,
            ("mobilenet_v3_large_fpn",),
            convert.keras_mobilenet_v3,
        ),
    ),
    (
        {"features.0.weight", "features.28.weight"},
        Network(
            "VGG16 of torchvision",
            "torch",
            TORCHVISION,
            ("vgg16",),
            convert.torchvision(convert.vgg16_module),
        ),
    ),
    (
        {"layer1.0.conv3.weight", "layer3.22.conv3.weight"},
        Network(
            "ResNet101 of torchvision",
            "torch",
            TORCHVISION,
            ("resnet101_fpn",),
            convert.torchvision(convert.resnet_module, convert.TORCHVISION_RESNET_EPSILON),
        ),
    ),
    (
        {"layer1.0.conv3.weight", "layer3.5.conv3.weight"},
        Network(
            "ResNet50 of torchvision",
            "torch",
            TORCHVISION,
            _RESNET50S,
            convert.torchvision(convert.resnet_module, convert.TORCHVISION_RESNET_EPSILON),
        ),
    ),
    (
        {"features.0.0.weight", "features.15.block.0.0.weight"},
        Network(
            "MobileNetV3-Large of torchvision",
            "torch",
            TORCHVISION,
            ("mobilenet_v3_large_fpn",),
            convert.torchvision(convert.mobilenet_v3_module, convert.MOBILENET_V3_EPSILON),
        ),
    ),
    ({"layer1.0.conv1.weight"}, _unusable("another ResNet of torchvision")),
    (
        {"Conv_0/kernel"},
        Network("a network of numbered convolutions", "torch", TORCHVISION, None, convert.numbered),
    ),
)
