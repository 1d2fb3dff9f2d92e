"""Write ``pyramids.npz``: what torchvision's networks give for weights and images made from names.

    python make_pyramids.py [SALT]     (needs torch and torchvision; another salt, other numbers)

Every array is thinned to some hundred values, evenly spread; ``entries`` are names and shapes of a
state's entries, "name 64,3,7,7".
"""

import pathlib
import sys

import numpy as np
import torch
from fill import fill
from torchvision.models import detection
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

BUILDERS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
)
NUM_CLASSES = 7
IMAGES = (2, 3, 75, 110)  # no multiple of any stride, after normalization
POOLED = (5, 256, 7, 7)


def thin(array):
    """Return some hundred values of an array, evenly spread."""
    return array.ravel()[:: array.size // 100 | 1]


def numbers(name, shape):
    """Return normally distributed float32 numbers that belong to a name."""
    return next(iter(fill({f"{name}.running_mean": shape}).values())) * 10


@torch.no_grad()
def main(salt):
    """Run each network in evaluation mode and write the file."""
    arrays = {"salt": np.array(salt)}
    frozen = torch.nn.Module()
    frozen.backbone = resnet_fpn_backbone(backbone_name="resnet101", weights=None)
    networks = {"resnet101_fpn": frozen}
    for name in BUILDERS:
        build = getattr(detection, name)
        networks[name] = build(weights=None, weights_backbone=None, num_classes=NUM_CLASSES)
    for name, network in networks.items():
        entries = {entry: tuple(value.shape) for entry, value in network.state_dict().items()}
        state = {entry: torch.from_numpy(value) for entry, value in fill(entries, salt).items()}
        network.load_state_dict(state)
        network.eval()
        features = list(network.backbone(torch.from_numpy(numbers("images", IMAGES))).values())
        outputs = {f"feature{level}": feature for level, feature in enumerate(features)}
        if name in BUILDERS:
            logits, deltas = network.rpn.head(features)
            outputs |= {f"objectness{level}": value for level, value in enumerate(logits)}
            outputs |= {f"rpn_deltas{level}": value for level, value in enumerate(deltas)}
            heads = network.roi_heads
            regions = heads.box_head(torch.from_numpy(numbers("pooled", POOLED)))
            outputs["class_logits"], outputs["box_deltas"] = heads.box_predictor(regions)
        lines = [f"{entry} {','.join(map(str, shape))}" for entry, shape in entries.items()]
        arrays[f"{name}/entries"] = np.array("\n".join(lines))
        arrays |= {f"{name}/{key}": thin(value.numpy()) for key, value in outputs.items()}
    np.savez_compressed(pathlib.Path(__file__).with_name("pyramids.npz"), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:] or ["b"])
