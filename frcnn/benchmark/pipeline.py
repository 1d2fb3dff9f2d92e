"""How many images a second the input pipeline prepares: decoded, resized, flipped, with RPN targets."""

import itertools
import os
import pathlib
import time

import cv2
import numpy as np

from frcnn.benchmark.worker import noise


def make_samples(folder, count=32, height=375, width=500, boxes=5):
    """Write JPEGs of the size of VOC's photographs and return their ``Sample``s."""
    from frcnn.data.dataset import Sample

    rng, samples = np.random.default_rng(0), []
    for number in range(count):
        path = pathlib.Path(folder) / f"{number}.jpg"
        grain = rng.normal(0, 8, (height, width, 3))
        pixels = np.clip(cv2.GaussianBlur(noise(rng, height, width), (0, 0), 6) + grain, 0, 255)
        cv2.imwrite(str(path), pixels.astype("uint8"), [cv2.IMWRITE_JPEG_QUALITY, 90])
        corner = rng.uniform(0, 0.5, (boxes, 2))
        drawn = np.concatenate([corner, corner + rng.uniform(0.1, 0.5, (boxes, 2))], axis=1)
        samples.append(
            Sample(
                name=str(number),
                path=str(path),
                width=width,
                height=height,
                boxes=(drawn * [width, height, width, height]).astype("float32"),
                labels=rng.integers(0, 20, boxes).astype("int32"),
                difficult=np.zeros(boxes, bool),
            )
        )
    return tuple(samples)


def images_per_second(folder, config, strides, workers, seconds=10.0):
    """Return the rate of a pipeline that nothing else waits for.

    Args:
        folder: an empty folder to write images to.
        config: ``Config``.
        strides: of the feature levels.
        workers: threads, and at most as many cores, where the system can be told so (Linux).
        seconds: to measure for, after one epoch of warm-up.
    """
    from frcnn.anchors import Pyramid
    from frcnn.data.cache import ImageCache
    from frcnn.data.dataset import Dataset
    from frcnn.data.pipeline import Pipeline
    from frcnn.targets import RpnTargeter

    # Each file ten times, so that starting an epoch costs as little as in a real data set.
    samples = make_samples(folder) * 10
    dataset = Dataset("noise", tuple(str(number) for number in range(20)), samples)
    config = config.replace({"data.workers": workers})
    targeter = RpnTargeter(Pyramid(config.anchors, strides), config.rpn)
    cache = ImageCache(config.data.cache_mib)
    batches = Pipeline(dataset, config.data, 16, 0, True, targeter, cache=cache)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    try:
        if cores:
            os.sched_setaffinity(0, sorted(cores)[:workers])  # threads started from here on inherit it
        stream = itertools.chain.from_iterable(map(batches.epoch, itertools.count()))
        for _ in itertools.islice(stream, len(batches)):
            pass
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            count += len(next(stream).images)
        return count / (time.perf_counter() - start)
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
