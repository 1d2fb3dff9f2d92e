"""The same steps on one device and on four, on JAX: ``python data_parallel_steps.py`` prints both.

Start it with ``XLA_FLAGS=--xla_force_host_platform_device_count=4``, or start two processes with 2 in
place of 4, and a ``TF_CONFIG`` each.
"""

import json
import tempfile

import keras
import numpy as np
from bucket_steps import batches_of, random_images
from train_steps import CONFIG, made_models

from frcnn.backend import data_parallel, num_devices
from frcnn.collectives import all_gather
from frcnn.distributed import process_group
from frcnn.training.alternating import Alternating
from frcnn.training.joint import Joint

IMAGES = 6  # with 4 per step, the second step of an epoch has 2, and filling on several devices
SIZES = {"data.short_side": 48, "data.long_side": 96, "data.pad_multiple": 96}


def results(schedule, per_device, dataset, share=(0, 1)):
    """Train two epochs of two steps each.

    Args:
        schedule: class of the schedule.
        per_device: images per step and device.
        dataset: the images.
        share: as for ``DataLoader``.

    Returns:
        {"losses": scalars of each step, "weights": [sum and sum of squares of each variable],
        "detections": sum of the scores of a validation step, "devices" of this process, "images": per
        step of this process}.
    """
    settings = {
        "data.batch_size": per_device,
        "optimizer.warmup_steps": 0,
        "optimizer.lr_scaling": "none",
    }
    config = CONFIG.replace(SIZES | settings)
    keras.utils.set_random_seed(0)  # JAX wants the same first values in all processes
    models = made_models(config)
    trained = schedule(models, config, 100)
    batches = batches_of(dataset, config, models, devices=num_devices(), share=share)
    losses, images = [], []
    for epoch in range(2):
        for batch in batches.epoch(epoch):
            scalars = dict(trained.train_step(batch))
            losses.append({name: value for name, value in scalars.items() if "time" not in name})
            images.append(len(batch.images))
    means, (_, scores, _) = trained.validation_step(batch, np.random.default_rng(3))
    arrays = [keras.ops.convert_to_numpy(own) for own in trained.variables().values()]
    weights = [[float(array.sum()), float(np.square(array).sum())] for array in arrays]
    if share != (0, 1):
        scores = all_gather(scores)
    return {
        "losses": [*losses, means],
        "weights": weights,
        "detections": float(scores.sum()),
        "devices": num_devices(),
        "images": images,
    }


if __name__ == "__main__":
    group, found = process_group.join(), {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = random_images(folder, IMAGES)
        for schedule in (Joint, Alternating):
            one = results(schedule, 4, dataset)
            with data_parallel():
                several = results(schedule, 1, dataset, group.share)
            found[schedule.__name__] = {"one": one, "several": several}
    print(json.dumps(found))
