"""torchvision's side of ``time_to_map``: ``PYTHON -m benchmark.torchvision_training FILE``.

It runs in a Python that has torchvision and need not have Keras. FILE is JSON that ``time_to_map``
wrote: the config of our run, its weights, and the labelled images of both splits. It trains the same
network with the same settings, optimizer and learning rates on the same images of the same size, an
epoch for each line that it reads. The same function scores it. torchvision's own code does the rest:
initial weights of new layers, resizing, batching, losses.
"""

import collections
import concurrent.futures
import contextlib
import copy
import itertools
import json
import sys
import time

import numpy as np
import torch
from PIL import Image, ImageOps

from benchmark.protocol import answer, peak_mb
from benchmark.torchvision_models import vgg16
from frcnn.evaluation.voc_ap import voc_ap

PREFETCH = 4  # images decoded ahead, as our pipeline does


class Training:
    """A run of torchvision's detector.

    Args:
        spec: what is in FILE.
        device: torch's.
    """

    def __init__(self, spec, device):
        self.spec, self.config, self.device = spec, spec["config"], device
        seed = self.config["train"]["seed"]
        torch.manual_seed(seed)
        self.flips = np.random.default_rng((seed, 3))
        model = build(self.config, len(spec["classes"]))
        fill(model.backbone, spec["weights"])
        self.step, self.seconds = 0, 0.0
        self.model = self._faster(model.to(device))
        self.optimizer = make_optimizer(self.model, self.config["optimizer"])
        self.steps_per_epoch = spec["steps_per_epoch"]
        self.batches = self._batches()

    def epoch(self, _line=None):
        """Train an epoch, validate, and return {"seconds", "ap50", "loss", "peak_mb"} so far."""
        start, losses = time.perf_counter(), []
        self.model.train()
        for _ in range(self.steps_per_epoch):
            losses.append(self._step(self.optimizer, self.model, *next(self.batches)))
            self.step += 1
        self.seconds += time.perf_counter() - start
        start = time.perf_counter()
        score = self._validate()
        return {
            "seconds": self.seconds,
            "ap50": score,
            "loss": float(np.mean(losses)),
            "validation_seconds": time.perf_counter() - start,
            "peak_mb": peak_mb(),
        }

    def _step(self, optimizer, model, images, targets):
        settings = self.config["optimizer"]
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * self.spec["rates"][self.step]
        with self._precision():
            loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        if settings["clip_norm"]:
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, settings["clip_norm"])
        optimizer.step()
        return loss.item()

    def _precision(self):
        if self.config["train"]["precision"] == "mixed_bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _faster(self, model):
        """Return a model in its faster memory format, which is measured on copies."""
        batches, seconds = list(itertools.islice(self._batches(), 5)), {}
        for memory in (torch.contiguous_format, torch.channels_last):
            trial = copy.deepcopy(model).to(memory_format=memory).train()
            optimizer = make_optimizer(trial, self.config["optimizer"])
            taken = []
            for batch in batches:
                start = time.perf_counter()
                self._step(optimizer, trial, *batch)
                taken.append(time.perf_counter() - start)
            seconds[memory] = float(np.median(taken[2:]))
        best = min(seconds, key=seconds.get)
        names = {str(memory): round(value, 3) for memory, value in seconds.items()}
        print(f"torchvision's memory formats, seconds a step: {names}", file=sys.stderr)
        self.flips = np.random.default_rng((self.config["train"]["seed"], 3))
        torch.manual_seed(self.config["train"]["seed"])
        return model.to(memory_format=best)

    def _batches(self):
        """Yield (images, targets) without end, decoded by a thread ahead of the step."""
        data, samples = self.config["data"], self.spec["train"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = collections.deque()
            for number in itertools.count():
                order = np.random.default_rng((self.config["train"]["seed"], number)).permutation(
                    len(samples)
                )
                for start in range(0, len(order), data["batch_size"]):
                    batch = [samples[index] for index in order[start : start + data["batch_size"]]]
                    flips = self.flips.random(len(batch)) < data["flip"]
                    waiting.append(pool.submit(self._load, batch, flips))
                    if len(waiting) > PREFETCH:
                        yield waiting.popleft().result()

    def _load(self, samples, flips):
        images, targets = [], []
        for sample, flip in zip(samples, flips):
            image = pixels(sample["path"])
            usable = ~np.array(sample["difficult"], bool)
            boxes = torch.tensor(sample["boxes"], dtype=torch.float32).reshape(-1, 4)[usable]
            labels = torch.tensor(sample["labels"], dtype=torch.int64)[usable] + 1  # 0 is background
            if flip:
                image, width = image.flip(2), image.shape[2]
                boxes = torch.stack(
                    [width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1
                )
            images.append(image.to(self.device))
            targets.append({"boxes": boxes.to(self.device), "labels": labels.to(self.device)})
        return images, targets

    def _validate(self):
        self.model.eval()
        found, truths = [], []
        for sample in self.spec["val"]:
            with torch.inference_mode(), self._precision():
                result = self.model([pixels(sample["path"]).to(self.device)])[0]
            result = {name: value.float().cpu().numpy() for name, value in result.items()}
            found.append(result | {"labels": result["labels"].astype(int) - 1})
            truths.append(
                {
                    "boxes": np.array(sample["boxes"], "float32").reshape(-1, 4),
                    "labels": np.array(sample["labels"], int),
                    "difficult": np.array(sample["difficult"], bool),
                }
            )
        detection, classes = self.config["detection"], len(self.spec["classes"])
        result = voc_ap(found, truths, classes, detection["ap_iou"], detection["ap_interpolation"])
        return float(result.mean_ap)


def build(config, classes):
    """Return torchvision's VGG16 with the settings of our config, with conv1 and conv2 frozen."""
    model, rpn, roi, detection = (config[name] for name in ("model", "rpn", "roi", "detection"))
    return vgg16(
        classes,
        config["anchors"]["sizes"],
        config["anchors"]["ratios"],
        model["head_width"],
        model["head_dropout"],
        min_size=config["data"]["short_side"],
        max_size=config["data"]["long_side"],
        rpn_pre_nms_top_n_train=rpn["pre_nms_train"],
        rpn_post_nms_top_n_train=rpn["post_nms_train"],
        rpn_pre_nms_top_n_test=rpn["pre_nms_test"],
        rpn_post_nms_top_n_test=rpn["post_nms_test"],
        rpn_nms_thresh=rpn["nms_iou"],
        rpn_fg_iou_thresh=rpn["positive_iou"],
        rpn_bg_iou_thresh=rpn["negative_iou"],
        rpn_batch_size_per_image=rpn["samples"],
        rpn_positive_fraction=rpn["positive_fraction"],
        box_batch_size_per_image=roi["samples"],
        box_positive_fraction=roi["positive_fraction"],
        box_fg_iou_thresh=roi["positive_iou"],
        box_bg_iou_thresh=roi["positive_iou"],
        bbox_reg_weights=tuple(roi["delta_weights"]),
        box_score_thresh=detection["score_threshold"],
        box_nms_thresh=detection["nms_iou"],
        box_detections_per_img=detection["max_detections"],
    )


def fill(body, path):
    """Load ``Conv_k/kernel`` (HWIO) and ``Conv_k/bias`` of an ``.npz`` file into the convolutions.

    Args:
        body: torchvision's layers, whose convolutions are counted from 0.
        path: the file; None: they keep their initial weights.
    """
    if path is None:
        return
    arrays = np.load(path, allow_pickle=False)
    for number, layer in enumerate(m for m in body.modules() if isinstance(m, torch.nn.Conv2d)):
        kernel = arrays[f"Conv_{number}/kernel"].astype("float32").transpose(3, 2, 0, 1)
        layer.weight.data = torch.from_numpy(kernel.copy())
        layer.bias.data = torch.from_numpy(arrays[f"Conv_{number}/bias"].astype("float32"))


def make_optimizer(model, settings):
    """Return SGD that decays kernels and not biases, which have a rate of their own."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    groups[0]["rate"], groups[1]["rate"] = 1.0, settings["bias_lr_factor"]
    return torch.optim.SGD(groups, settings["learning_rate"], momentum=settings["momentum"])


def pixels(path):
    """Return a (3, H, W) float tensor from 0 to 1 of an image, upright."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return torch.from_numpy(np.array(upright)).permute(2, 0, 1).float().div(255)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        training = Training(
            json.load(file), torch.device("cuda" if torch.cuda.is_available() else "cpu")
        )
    answer(training.epoch, sys.stdin)
