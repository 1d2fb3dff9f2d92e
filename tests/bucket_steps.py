"""Steps on images of random sizes, on whichever backend: ``python bucket_steps.py`` prints how many
steps there were, in how many shapes, and how often they were traced.
"""

import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
from train_steps import CONFIG

from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset, Sample
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.joint import Joint
from frcnn.training.step_arrays import ToDevice


def random_images(folder, count, seed=0):
    """Return a data set of grey images of random sizes with up to twenty boxes each."""
    rng, samples = np.random.default_rng(seed), []
    for number in range(count):
        height, width = 48, int(rng.integers(28, 97))
        path, boxes = Path(folder) / f"{number}.png", int(rng.integers(1, 20))
        cv2.imwrite(str(path), np.full((height, width, 3), 128, "uint8"))
        corner = rng.uniform(0, 0.5, (boxes, 2))
        corners = np.concatenate([corner, corner + 0.4], axis=1) * [width, height, width, height]
        labels, difficult = rng.integers(0, 3, boxes).astype("int32"), np.zeros(boxes, bool)
        corners = corners.astype("float32")
        samples.append(Sample(str(number), str(path), width, height, corners, labels, difficult))
    return Dataset("random", ("a", "b", "c"), tuple(samples))


def batches_of(dataset, config, models, **options):
    """Return the ``DataLoader`` of a data set for a network, with RPN targets."""
    targets = AnchorTargetCreator(models.anchor_generator, config.rpn)
    options |= {"make_targets": targets, "to_device": ToDevice()}
    return DataLoader(dataset, config.data, models.size_multiple, **options)


def results(multiple, count=8, epochs=2):
    """Train ``epochs`` of ``count`` steps, an image each, padded to a ``multiple``.

    Returns:
        {"sizes": number of sizes of the resized images, "shapes": number of shapes of the steps' inputs,
        "steps": number of steps, "traces": number of traces}.
    """
    values = {"data.short_side": 48, "data.long_side": 96, "data.batch_size": 1}
    config = CONFIG.replace(values | {"data.pad_multiple": multiple})
    models = FasterRCNN.from_config(config, 4)
    schedule = Joint(models, config, 100)
    sizes, shapes, traces = set(), set(), []
    with tempfile.TemporaryDirectory() as folder:
        batches = batches_of(random_images(folder, count), config, models)
        for epoch in range(epochs):
            for batch in batches.epoch(epoch):
                sizes.add(tuple(batch.image_sizes[0].tolist()))
                shapes.add((batch.images.shape, batch.gt_boxes.shape))
                traces.append(schedule.train_step(batch)["traces"])
    return {"sizes": len(sizes), "shapes": len(shapes), "steps": len(traces), "traces": traces[-1]}


if __name__ == "__main__":
    print(json.dumps(results(48)))
