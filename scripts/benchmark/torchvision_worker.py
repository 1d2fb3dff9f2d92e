"""torchvision's side of a comparison: ``PYTHON -m benchmark.torchvision_worker SPEC``.

It runs in a Python that has torchvision and need not have Keras.
"""

import contextlib
import json
import sys

import torch

from benchmark.protocol import busy_union, serve
from benchmark.torchvision_models import build


class Gpu:
    """The GPU, as a device for ``benchmark.protocol.serve``."""

    def __init__(self):
        self.name = torch.cuda.get_device_name()

    def peak_mb(self):
        return torch.cuda.max_memory_allocated() / 2**20

    def busy_seconds(self, run, times):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(times):
                run()
        spans = [
            (event.time_range.start, event.time_range.end)
            for event in profile.events()
            # The span of an annotation, such as an optimizer's step, holds what is idle in it.
            if event.device_type == torch.autograd.DeviceType.CUDA and not event.is_user_annotation
        ]
        if not spans:
            raise RuntimeError(f"the profiler saw nothing on {self.name}: may this user profile it?")
        return busy_union(spans) * 1e-6 / times


def prepare(spec):
    """Return the function to measure, which has no arguments."""
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        # As our backends do: float32 by TensorFloat-32, and for each shape the fastest convolution.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    model = build(spec).to(device)
    if spec["channels_last"]:
        model = model.to(memory_format=torch.channels_last)
    count, height, width = spec["batch"], spec["height"], spec["width"]
    noise = [torch.rand(3, height, width) for _ in range(count)]
    mixed = contextlib.nullcontext
    if spec["precision"] == "mixed_bfloat16":

        def mixed():
            return torch.autocast(device.type, torch.bfloat16)

    def images():
        return [image.to(device) for image in noise]  # as ours come from the host each time

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
                model(images())
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
            loss = sum(model(images(), targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        finish()

    return step


if __name__ == "__main__":
    gpu = Gpu() if torch.cuda.is_available() else None
    serve(prepare(json.loads(sys.argv[1])), sys.stdin, device=gpu)
