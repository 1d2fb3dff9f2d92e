"""torchvision's detectors with the settings of ours, for a Python that has torchvision and not Keras.

The networks come from torchvision's own builders if it has one, with frozen batch normalization and the
same number of trained stages as its pretrained networks. VGG16 is built as its documentation shows, with
conv1 and conv2 frozen.
"""

import torch
import torchvision
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign


def build(spec):
    """Return torchvision's detector for a spec of ``scripts/benchmark.py``."""
    sides = spec["height"], spec["width"]
    limits = {"min_size": min(sides), "max_size": 2 * max(sides)}
    numbers = {"num_classes": spec["classes"] + 1, "box_batch_size_per_image": spec["rois"]}
    if spec["backbone"] == "vgg16":
        paper = {
            "rpn_pre_nms_top_n_train": 12000,
            "rpn_post_nms_top_n_train": 2000,
            "rpn_pre_nms_top_n_test": 6000,
            "rpn_post_nms_top_n_test": 300,
        }
        return vgg16(spec["classes"], box_batch_size_per_image=spec["rois"], **paper, **limits)
    builders = {
        "resnet50_fpn": detection.fasterrcnn_resnet50_fpn,
        "mobilenet_v3_large_fpn": detection.fasterrcnn_mobilenet_v3_large_320_fpn
        if spec["height"] <= 320
        else detection.fasterrcnn_mobilenet_v3_large_fpn,
    }
    model = builders[spec["backbone"]](weights=None, weights_backbone=None, **limits, **numbers)
    freeze(spec["backbone"], model.backbone)
    return model


def vgg16(
    classes,
    sizes=(128, 256, 512),
    ratios=(0.5, 1.0, 2.0),
    head_width=4096,
    dropout=0.5,
    **numbers,
):
    """Return VGG16 on one level, conv1 and conv2 frozen.

    Args:
        classes: object classes.
        sizes, ratios: of the anchors.
        head_width, dropout: of the two dense layers.
        numbers: of torchvision's ``FasterRCNN``.
    """
    body = torchvision.models.vgg16(weights=None).features[:-1]
    body.out_channels = 512
    for parameter in body[:10].parameters():
        parameter.requires_grad_(False)
    layers = [torch.nn.Flatten()]
    for width in (512 * 7 * 7, head_width):
        layers += [torch.nn.Linear(width, head_width), torch.nn.ReLU(inplace=True)]
        layers += [torch.nn.Dropout(dropout)] if dropout else []
    return detection.FasterRCNN(
        body,
        rpn_anchor_generator=detection.rpn.AnchorGenerator((tuple(sizes),), (tuple(ratios),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        box_head=torch.nn.Sequential(*layers),
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(head_width, classes + 1),
        **numbers,
    )


def freeze(name, backbone):
    """Freeze batch normalization and all stages but the last three."""

    def swap(module):
        for child_name, child in module.named_children():
            if isinstance(child, torch.nn.BatchNorm2d):
                setattr(module, child_name, FrozenBatchNorm2d(child.num_features, child.eps))
            else:
                swap(child)

    swap(backbone.body)
    if name == "resnet50_fpn":
        for parameter_name, parameter in backbone.body.named_parameters():
            parameter.requires_grad_(parameter_name.startswith(("layer2", "layer3", "layer4")))
        return
    blocks = list(backbone.body.children())
    starts = [
        0,
        *(n for n, block in enumerate(blocks) if getattr(block, "_is_cn", False)),
        len(blocks) - 1,
    ]
    for block in blocks[: starts[-3]]:
        block.requires_grad_(False)
