"""The arrays that a step takes: the loader's threads copy them to the device."""

import dataclasses
import threading

import keras
import numpy as np
import pytest

from frcnn import backend
from frcnn.data import build
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.alternating import Alternating
from frcnn.training.joint import Joint
from frcnn.training.step_arrays import ToDevice


class Recorder(ToDevice):
    """Remembers the threads that it ran in."""

    def __init__(self):
        super().__init__()
        self.threads = set()

    def __call__(self, batch):
        self.threads.add(threading.current_thread())
        return super().__call__(batch)


@pytest.fixture(scope="module")
def loaded(small_config):
    """Return a batch with its arrays on the device, and the ``Recorder`` that put them there."""
    models = FasterRCNN.from_config(small_config, 4)
    creator, recorder = AnchorTargetCreator(models.anchor_generator, small_config.rpn), Recorder()
    loader = DataLoader(
        build.load(small_config.data)[0],
        small_config.data,
        8,
        make_targets=creator,
        to_device=recorder,
    )
    return next(loader.epoch()), recorder


def test_the_threads_of_the_loader_put_each_array_on_the_device(loaded):
    batch, recorder = loaded
    assert recorder.threads and threading.main_thread() not in recorder.threads
    own = vars(batch) | batch.targets._asdict()
    assert len(batch.on_device) == 8
    for name, tensor in batch.on_device.items():
        assert keras.ops.is_tensor(tensor)
        array = keras.ops.convert_to_numpy(tensor)
        assert array.dtype == own[name].dtype and np.array_equal(array, own[name])


@pytest.mark.parametrize("schedule", [Alternating, Joint])
def test_a_step_is_the_same_whether_the_loader_copied_the_batch_or_not(small_config, loaded, schedule):
    backend.prepare_device()  # so that the same is the same to the last bit

    def trained(batch):
        keras.utils.set_random_seed(0)
        steps = schedule(FasterRCNN.from_config(small_config, 4), small_config, 10)
        scalars = dict(steps.train_step(batch))
        losses, detections = steps.validation_step(batch, np.random.default_rng(0))
        numbers = {tag: own for tag, own in (scalars | losses).items() if "time" not in tag}
        return numbers, [*steps.models.detector.get_weights(), *detections]

    batch, _ = loaded
    numbers, arrays = trained(batch)
    without, others = trained(dataclasses.replace(batch, on_device=None))
    assert numbers == without
    assert all(np.array_equal(one, other) for one, other in zip(arrays, others, strict=True))
