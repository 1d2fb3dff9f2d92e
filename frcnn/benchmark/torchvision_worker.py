"""torchvision's side of a comparison: ``PYTHON -m frcnn.benchmark.torchvision_worker SPEC``.

Run by a Python that has torchvision and need not have Keras.
"""

import contextlib
import json
import sys

import torch

from frcnn.benchmark.protocol import serve
from frcnn.benchmark.torchvision_models import build


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
