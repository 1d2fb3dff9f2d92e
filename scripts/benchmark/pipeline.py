"""Measures how many images per second the input pipeline prepares, and whether a network waits for it.

To prepare an image is to decode, resize and flip it, and to make the RPN's targets.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import pathlib
import tempfile
import time

import cv2
import numpy as np

from benchmark.worker import config_of, noise


def make_samples(folder, count=32, height=375, width=500, boxes=5, classes=20):
    """Write JPEGs of the size of VOC's photographs and return their ``Sample``s."""
    from frcnn.data.sample import Sample

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
                labels=rng.integers(0, classes, boxes).astype("int32"),
                difficult=np.zeros(boxes, bool),
            )
        )
    return tuple(samples)


def of_processes(spec, photo, windows):
    """Return the rates of one process per core together, images per second, each with one thread.

    Beside the rate of as many threads in one process, it shows what Python's lock costs.

    Args:
        spec, photo: as for ``Feed``.
        windows: number of rates.
    """
    cores = sorted(os.sched_getaffinity(0))
    context = multiprocessing.get_context("spawn")  # TensorFlow must not be forked
    start = context.Barrier(len(cores))
    pool = concurrent.futures.ProcessPoolExecutor(len(cores), context, _keep, (start,))
    with pool:
        rates = pool.map(_of_process, *zip(*[(spec, photo, windows, core) for core in cores]))
    return [sum(of_window) for of_window in zip(*rates)]


def _keep(start):
    global _start
    _start = start


def _of_process(spec, photo, windows, core):
    os.sched_setaffinity(0, [core])
    with tempfile.TemporaryDirectory() as folder:
        return Feed(folder, spec, photo).images_per_second(1, windows, ready=_start.wait)


class Feed:
    """Batches of such images for a network, as it would train on them.

    Args:
        folder: an empty folder to write images to.
        spec: of a step, as ``benchmark.worker`` takes it.
        photo: (height, width) of the images.
    """

    def __init__(self, folder, spec, photo=(375, 500)):
        from frcnn.data.sample import Dataset
        from frcnn.models.faster_rcnn import FasterRCNN

        longest = max(spec["height"], spec["width"])
        settings = {"data.long_side": longest} | spec["settings"]
        self.config = config_of(spec).replace(settings)
        self.models = FasterRCNN.from_config(self.config, spec["classes"] + 1, allow_random_frozen=True)
        # Each file ten times, so that starting an epoch costs as little as in a real data set.
        samples = make_samples(folder, 32, *photo, classes=spec["classes"]) * 10
        names = tuple(str(number) for number in range(spec["classes"]))
        self.dataset = Dataset("noise", names, samples)

    def images_per_second(self, workers, windows, seconds=3.0, ready=None):
        """Return the rates of the pipeline with nothing else running.

        Args:
            workers: number of threads, and largest number of cores.
            windows: number of rates.
            seconds: duration of the measurement of each rate, after one epoch of warm-up.
            ready: called between warm-up and measurement.
        """
        cores = os.sched_getaffinity(0)
        try:
            # Threads started from here on inherit it.
            os.sched_setaffinity(0, sorted(cores)[:workers])
            batches = self._batches(workers)
            for _ in itertools.islice(batches, len(self.dataset) // self.config.data.batch_size):
                pass
            if ready:
                ready()
            return [self._rate(batches, seconds) for _ in range(windows)]
        finally:
            os.sched_setaffinity(0, cores)

    def _rate(self, batches, seconds):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            count += len(next(batches).images)
        return count / (time.perf_counter() - start)

    def while_training(self, steps, warm_up=8):
        """Train on the batches, and return how long the training waited for them.

        Args:
            steps: number of steps to measure.
            warm_up: number of steps before them: enough to use up the batches that were prepared while
                the first step was compiled.

        Returns:
            A dict: ``steps``; ``images_per_second``; ``share``, the fraction of the time spent waiting;
            and ``longest_s``, the longest wait.
        """
        from frcnn.training.trainer import SCHEDULES

        schedule = SCHEDULES[self.config.train.schedule](self.models, self.config, 10_000)
        batches = self._batches(self.config.data.loader_threads)
        for _ in range(warm_up):
            schedule.train_step(next(batches))
        waits, images, start = [], 0, time.perf_counter()
        for _ in range(steps):
            before = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - before)
            schedule.train_step(batch)
            images += len(batch.images)
        seconds = time.perf_counter() - start
        return {
            "steps": steps,
            "images_per_second": images / seconds,
            "share": sum(waits) / seconds,
            "longest_s": max(waits),
        }

    def _batches(self, workers):
        """Yield ``Batch``es without end, with RPN targets."""
        from frcnn.data.anchor_targets import AnchorTargetCreator
        from frcnn.data.cache import ImageCache
        from frcnn.data.loader import DataLoader

        data = self.config.replace({"data.loader_threads": workers}).data
        targeter = AnchorTargetCreator(self.models.anchor_generator, self.config.rpn)
        multiple, cache = self.models.size_multiple, ImageCache(data.cache_mib)
        pipeline = DataLoader(self.dataset, data, multiple, 0, True, targeter, cache=cache)
        return itertools.chain.from_iterable(map(pipeline.epoch, itertools.count()))
