"""A few training steps on either backend: ``python train_steps.py`` prints losses and detections.

Weights and inputs come from numpy, so that both backends start from the same numbers. There is no
dropout.
"""

import json

import numpy as np

from frcnn.config import presets
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.ops.sampling import random_order
from frcnn.training.compile import compile_sub_models

CONFIG = presets.preset("shapes").replace(
    {
        "model.preprocessing": "tf",
        "model.rpn_channels": 8,
        "model.head_width": 16,
        "rpn.samples": 32,
        "rpn.pre_nms_train": 60,
        "rpn.post_nms_train": 20,
        "rpn.pre_nms_test": 60,
        "rpn.post_nms_test": 8,
        "roi.samples": 16,
        "detection.max_detections": 5,
    }
)


class Batch:
    """Two noisy images of 64 x 80 pixels, the second padded and with one object of three less."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (2, 64, 80, 3)).astype("uint8")
        self.image_sizes = np.array([[64, 80], [60, 72]], "float32")
        self.gt_boxes = np.array(
            [[[4, 6, 40, 40], [50, 20, 75, 60]], [[10, 10, 50, 56], [0, 0, 0, 0]]], "float32"
        )
        self.gt_labels = np.array([[0, 2], [1, -1]], "int32")
        self.weights = np.array([1.0, 0.5], "float32")


def made_models(config=CONFIG):
    """Return ``FasterRCNN`` for 3 object classes whose weights numpy drew."""
    models = FasterRCNN.from_config(config, 4)
    rng = np.random.default_rng(1)
    # The classifier's first: those that the RPN shares with it are drawn once, in one order.
    variables = {variable.path: variable for variable in models.classifier.weights + models.rpn.weights}
    for variable in variables.values():
        fan_in = max(np.prod(variable.shape[:-1]), 1)
        variable.assign(rng.normal(0, np.sqrt(1 / fan_in), variable.shape).astype("float32"))
    return models


def results(steps=3):
    """Return the logs of each sub-model's steps, and before them the scores of the detector.

    {"rpn": [{name: value}, ...], "classifier": [...], "detector": [score, ...]}
    """
    models, batch = made_models(), Batch()
    compile_sub_models(models, CONFIG.replace({"optimizer.warmup_steps": 0}), total_steps=100)
    generator = np.random.default_rng(2)
    targets = AnchorTargetCreator(models.anchor_generator, CONFIG.rpn).full_maps(batch, generator)
    options = {"sample_weight": batch.weights, "return_dict": True}
    logs = {"rpn": [], "classifier": []}
    order = random_order(generator, 2, CONFIG.rpn.post_nms_train + 2)
    inputs = [batch.images, batch.image_sizes, batch.gt_boxes, batch.gt_labels, order]
    # Sampled once: proposals of near equal score may change places between backends as training goes on.
    sampled = models.proposal_targets.predict_on_batch(inputs)
    rois = [batch.images, sampled["rois"]]
    _, scores, _ = models.detector.predict_on_batch([batch.images, batch.image_sizes])
    for _ in range(steps):
        logs["rpn"].append(models.rpn.train_on_batch(batch.images, list(targets), **options))
        logs["classifier"].append(
            models.classifier.train_on_batch(rois, [sampled["y_class"], sampled["y_regress"]], **options)
        )
    logs = {
        name: [{key: float(value) for key, value in step.items()} for step in steps]
        for name, steps in logs.items()
    }
    return {**logs, "detector": np.ravel(scores).tolist()}


if __name__ == "__main__":
    print(json.dumps(results()))
