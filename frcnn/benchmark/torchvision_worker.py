"""torchvision's side of a comparison: ``PYTHON -m frcnn.benchmark.torchvision_worker SPEC``.

Run by a Python that has torchvision and need not have Keras. The networks are torchvision's own builders
where there are such, with frozen batch normalization and as many trained stages as its pretrained ones
have; VGG16 is put together as its documentation shows, with the paper's numbers and conv1 and conv2
frozen.
"""

import contextlib
import json
import sys

import torch
import torchvision
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from frcnn.benchmark.protocol import serve


def build(spec):
    """Return torchvision's detector for a spec."""
    limits = {"min_size": spec["height"], "max_size": 2 * max(spec["height"], spec["width"])}
    numbers = {"num_classes": spec["classes"] + 1, "box_batch_size_per_image": spec["rois"]}
    if spec["backbone"] == "vgg16":
        return vgg16(spec, limits)
    builders = {
        "resnet50_fpn": detection.fasterrcnn_resnet50_fpn,
        "mobilenet_v3_large_fpn": detection.fasterrcnn_mobilenet_v3_large_320_fpn
        if spec["height"] <= 320
        else detection.fasterrcnn_mobilenet_v3_large_fpn,
    }
    model = builders[spec["backbone"]](weights=None, weights_backbone=None, **limits, **numbers)
    freeze(spec["backbone"], model.backbone)
    return model


def vgg16(spec, limits):
    features = torchvision.models.vgg16(weights=None)
    body = features.features[:-1]
    body.out_channels = 512
    for parameter in body[:10].parameters():
        parameter.requires_grad_(False)
    head = torch.nn.Sequential(torch.nn.Flatten(), *list(features.classifier)[:6])
    return detection.FasterRCNN(
        body,
        rpn_anchor_generator=detection.rpn.AnchorGenerator(((128, 256, 512),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=7, sampling_ratio=2),
        box_head=head,
        box_predictor=detection.faster_rcnn.FastRCNNPredictor(4096, spec["classes"] + 1),
        box_batch_size_per_image=spec["rois"],
        rpn_pre_nms_top_n_train=12000,
        rpn_post_nms_top_n_train=2000,
        rpn_pre_nms_top_n_test=6000,
        rpn_post_nms_top_n_test=300,
        **limits,
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


def prepare(spec):
    """Return what a spec measures, as a function without arguments."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build(spec).to(device)
    if spec["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    count, height, width = spec["batch"], spec["height"], spec["width"]
    images = [torch.rand(3, height, width, device=device) for _ in range(count)]
    mixed = contextlib.nullcontext
    if spec["precision"] == "mixed_bfloat16":

        def mixed():
            return torch.autocast(device.type, torch.bfloat16)

    def finish():
        if device.type == "cuda":
            torch.cuda.synchronize()

    if spec["what"] == "inference":
        model.eval()
        predictor = model.roi_heads.box_predictor.cls_score
        with torch.no_grad():
            predictor.weight.mul_(0.05)
            predictor.bias[0] = 8.0

        def detect():
            with torch.inference_mode(), mixed():
                model(images)
            finish()

        return detect

    side = torch.rand(count, spec["boxes"], 2) * 0.4 + 0.05
    corner = torch.rand(count, spec["boxes"], 2) * 0.55
    boxes = torch.cat([corner, corner + side], dim=2) * torch.tensor([width, height, width, height])
    labels = torch.randint(1, spec["classes"] + 1, (count, spec["boxes"]))
    targets = [{"boxes": b.to(device), "labels": n.to(device)} for b, n in zip(boxes, labels)]
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=0.9, weight_decay=5e-4)

    def step():
        with mixed():
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        finish()

    return step


if __name__ == "__main__":
    serve(prepare(json.loads(sys.argv[1])), sys.stdin)
