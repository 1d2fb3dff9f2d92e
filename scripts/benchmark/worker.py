"""Our side of a comparison, in a process of its own: ``python -m benchmark.worker SPEC``.

It builds what SPEC describes, then answers ``benchmark.compare``.
"""

import dataclasses
import itertools
import json
import pathlib
import sys
import tempfile

import numpy as np

from benchmark.protocol import serve


def config_of(spec):
    """Return the ``Config`` of a spec: the same network and settings as the peer's."""
    from frcnn.config.presets import backbone_preset
    from frcnn.config.schema import Config

    small = spec["backbone"] == "mobilenet_v3_large_fpn" and spec["height"] <= 320
    return Config().replace(
        backbone_preset(spec["backbone"])
        | {
            "model.preprocessing": "caffe" if spec["backbone"] in ("vgg16", "resnet50") else "torch",
            "data.short_side": min(spec["height"], spec["width"]),
            "data.long_side": 2 * max(spec["height"], spec["width"]),
            "data.batch_size": spec["batch"],
            "roi.samples": spec["rois"],
            "detection.nms_iou": 0.5,
            "optimizer.learning_rate": 1e-4,
            "train.schedule": spec["schedule"],
            "train.precision": spec["precision"],
        }
        # torchvision's builder for small images, "320", proposes fewer.
        | ({"rpn.pre_nms_test": 150, "rpn.post_nms_test": 150} if small else {})
        | spec["settings"]
    )


def with_measured_convolutions(config):
    """Return the config with this machine's choice of convolutions, as in a training run."""
    from frcnn.config import conv_tiles
    from frcnn.layers import conv_timing

    if conv_tiles.parse(config.train.conv_tiles) is not None:
        return config
    tiles, _ = conv_timing.choose(config.train.precision.removeprefix("mixed_"))
    return config.replace({conv_tiles.KEY: conv_tiles.to_text(tiles)})


def random_batch(models, config, spec, seed=0):
    """Return a ``Batch`` of noise with boxes of all sizes, and its RPN targets."""
    from frcnn.data import transforms
    from frcnn.data.anchor_targets import AnchorTargetCreator
    from frcnn.data.loader import Batch

    rng = np.random.default_rng(seed)
    count, height, width = spec["batch"], spec["height"], spec["width"]
    images = [noise(rng, height, width) for _ in range(count)]
    corner = rng.uniform(0.0, 0.55, (count, spec["boxes"], 2))
    side = rng.uniform(0.05, 0.45, (count, spec["boxes"], 2))
    boxes = np.concatenate([corner, corner + side], axis=-1) * [width, height, width, height]
    batch = Batch(
        images=transforms.pad(images, models.size_multiple),
        image_sizes=np.array([[height, width]] * count, "float32"),
        gt_boxes=boxes.astype("float32"),
        gt_labels=rng.integers(0, spec["classes"], (count, spec["boxes"])).astype("int32"),
        weights=np.ones(count, "float32"),
        samples=(),
    )
    return dataclasses.replace(
        batch, targets=AnchorTargetCreator(models.anchor_generator, config.rpn)(batch, rng)
    )


def noise(rng, height, width):
    """Return smooth noise as an image: neighbouring pixels are alike, as in photographs."""
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(coarse, np.ones((8, 8, 1)))[:height, :width].astype("uint8")


def prepare(spec):
    """Return the function to measure, which has no arguments."""
    import keras

    from frcnn.data.anchor_targets import AnchorTargetCreator
    from frcnn.detector import Detector
    from frcnn.models.faster_rcnn import FasterRCNN
    from frcnn.training.trainer import SCHEDULES

    keras.utils.set_random_seed(0)
    config = with_measured_convolutions(config_of(spec))
    models = FasterRCNN.from_config(config, spec["classes"] + 1, allow_random_frozen=True)
    if spec["what"] == "targets":
        batch = random_batch(models, config, spec)
        targeter, rng = (
            AnchorTargetCreator(models.anchor_generator, config.rpn),
            np.random.default_rng(1),
        )
        return lambda: targeter(batch, rng)
    if spec["what"] == "step":
        schedule = SCHEDULES[spec["schedule"]](models, config, 10_000)
        batches = [random_batch(models, config, spec, seed) for seed in range(4)]
        turns = itertools.cycle(batches)
        return lambda: schedule.train_step(next(turns))
    # In a trained network few RoIs are objects. A bias for background has the same effect here.
    bias = models.classifier.get_layer("class_logits").bias
    bias.assign(np.eye(spec["classes"] + 1)[-1] * 8.0)
    detector = Detector(models, config, [str(number) for number in range(spec["classes"])])
    if spec["what"] == "exported":
        detector = exported(detector, spec)
    rng = np.random.default_rng(0)
    images = [noise(rng, spec["height"], spec["width"]) for _ in range(spec["batch"])]
    return lambda: detector.predict(images, batch_size=spec["batch"])


def exported(detector, spec):
    """Return the detector as a file in the format ``spec["format"]``, which runs in its own runtime."""
    from frcnn.detector import Detector
    from frcnn.export import exporter, formats

    multiple = detector.models.size_multiple
    size = tuple(-(-side // multiple) * multiple for side in (spec["height"], spec["width"]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "detector" + formats.FORMATS[spec["format"]].suffix)
        exporter.write(detector, spec["format"], path, size)
        return Detector.load(path)


if __name__ == "__main__":
    from benchmark import gpu
    from frcnn import backend

    backend.prepare_device()
    serve(prepare(json.loads(sys.argv[1])), sys.stdin, device=gpu.find())
