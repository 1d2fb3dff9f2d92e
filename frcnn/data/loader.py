"""The loader: background threads prepare the batches before the training steps need them.

Threads are enough, because decoding, resizing and anchor matching do not hold Python's global lock.

Each image has its own random generator in each epoch (``frcnn.rng``). So the same seed gives the same
batches in the same order with any number of threads, and the random changes of an image do not depend on
the other images of its batch.

If several processes train together, each takes an equal share of every batch. All shares have the same
shapes: the number of images, the padded size and the number of boxes G are those that the whole batch
needs. A share has too few images at the end of an epoch, or if an image cannot be decoded. Then filling
images are added, with size 0, no box and weight 0. So every process has a batch in every step. If a
process has several devices, enough are added that each device gets the same number of images.

The reader of a data set checks only the headers of the images. An image that cannot be decoded is found
here. With ``on_bad_data`` "skip" the loader skips and reports it.

B: images per batch, H x W: pixels, G: ground-truth boxes per image (padded).
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from frcnn import rng as rng_module
from frcnn.config.schema import AugmentConfig, DataConfig
from frcnn.data import repeats, transforms
from frcnn.data.augmentation import mosaic
from frcnn.data.augmentation.augmenter import Augmenter
from frcnn.data.batch import Batch, padded_objects
from frcnn.data.cache import ImageCache
from frcnn.data.faults import announce
from frcnn.data.sample import Dataset
from frcnn.errors import DataError

# G is a multiple of this, so that few shapes occur and compiled steps are reused.
BOX_MULTIPLE = 8


class DataLoader:
    """Yields the batches of a data set, epoch by epoch.

    Args:
        dataset: images and boxes.
        config: the section ``data`` of the settings.
        multiple: image sides are padded to a multiple of this, pixels.
        seed: seed of the order and of all random changes of images.
        training: whether to shuffle and flip. If not, the order is that of the data set.
        make_targets: function of (Batch, list of one random generator per image), such as an
            ``AnchorTargetCreator``. It runs in the threads. Its result becomes ``Batch.targets``.
        to_device: function of a batch with targets, such as a ``ToDevice``. It runs in the threads. Its
            result becomes ``Batch.on_device``.
        on_skip: function of (name of the data set, name of the image, fault), called each time that an
            image is skipped.
        cache: cache of the resized images; loaders with the same ``config`` may share one. None: no
            cache.
        share: (index, count): each batch is divided into ``count`` equal shares, and this loader yields
            the share with this index. A whole batch has ``count * devices * config.batch_size`` images.
        devices: number of devices of this process, among which a share is divided evenly.
        augment: the section ``augment`` of the settings, for training; None: images are only flipped
            (``config.flip``).
        box_kind: value of the setting ``box.kind``.

    Example:
        >>> loader = DataLoader(dataset, config.data, multiple=32)
        >>> for batch in loader.epoch():
        ...     print(batch.images.shape, [sample.name for sample in batch.samples])
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        multiple: int,
        seed: int = 0,
        training: bool = True,
        make_targets: Callable[[Batch, list[np.random.Generator]], Any] | None = None,
        to_device: Callable[[Batch], Mapping[str, Any]] | None = None,
        on_skip: Callable[[str, str, str], None] = announce,
        cache: ImageCache | None = None,
        share: tuple[int, int] = (0, 1),
        devices: int = 1,
        augment: AugmentConfig | None = None,
        box_kind: str = "axis_aligned",
    ):
        self.dataset = dataset
        self.config = config
        self.multiple = multiple
        self.seed = seed
        self.training = training
        self.make_targets = make_targets
        self.to_device = to_device
        self.on_skip = on_skip
        self.cache = ImageCache(0) if cache is None else cache
        self.box_kind = box_kind
        self.augmenter = None
        if training and augment is not None and augment.is_active:
            self.augmenter = Augmenter(dataset, config, augment, seed, self._whole, box_kind)
        self.factors = None
        if training and config.repeat_threshold:
            self.factors = repeats.repeat_factors(dataset, config.repeat_threshold)
        self.min_boxes = 1  # G, before padding
        if config.pad_multiple:  # G of all batches is that of the image with the most boxes: few shapes
            counts = [int((~sample.difficult).sum()) for sample in dataset.samples]
            self.min_boxes = max([1, *counts])
            if self.augmenter is not None and self.augmenter.config.mosaic:
                self.min_boxes *= 1 + mosaic.OTHERS
        self.share, self.shares = share
        self.devices = devices
        self.batch_size = config.batch_size * self.shares * devices

    def __len__(self) -> int:
        """Return the number of batches per epoch; the last may be smaller."""
        images = len(self.dataset)
        if self.factors is not None:
            images = repeats.images_per_epoch(self.factors)
        return -(-images // self.batch_size)

    def _order(self, number):
        """Return the order of an epoch's M images.

        Returns:
            (M,) indices in the data set.
            (M,) how often the image at each place has come before in the epoch; 0 the first time.
        """
        order = np.arange(len(self.dataset))
        if self.training:
            rng = rng_module.generator(self.seed, rng_module.ORDER, number)
            plain = self.factors is None
            order = rng.permutation(order) if plain else repeats.repeated(self.factors, rng)
        return order, repeats.repetitions(order)

    def stream(self, number: int = 0, first: int = 0) -> Iterator[Batch]:
        """Yield batches without end, epoch after epoch. Arguments and errors: see ``epoch``."""
        while True:
            yield from self.epoch(number, first)
            number, first = number + 1, 0

    def epoch(self, number: int = 0, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch, which background threads prepare.

        Each image comes once, or several times with ``data.repeat_threshold`` (``frcnn.data.repeats``).

        Args:
            number: number of the epoch, from 0.
            first: the first batch to yield, from 0.

        Raises:
            DataError: an image cannot be decoded and ``on_bad_data`` is ``"error"``, or no image of the
                epoch can be decoded.
        """
        order, repetitions = self._order(number)
        size = self.batch_size
        positions = [(number, index) for index in range(first, len(self))]
        # One thread for OpenCV: its own pool of threads would compete with these.
        pool = concurrent.futures.ThreadPoolExecutor(
            self.config.loader_threads, initializer=cv2.setNumThreads, initargs=(1,)
        )
        skipped: dict[str, str] = {}
        has_image = False
        with pool:
            waiting: collections.deque[concurrent.futures.Future] = collections.deque()
            try:
                for position in positions:
                    group = slice(position[1] * size, (position[1] + 1) * size)
                    waiting.append(pool.submit(self._batch, order[group], repetitions[group], position))
                    last = position == positions[-1]
                    while len(waiting) > (0 if last else self.config.prefetch):
                        batch, faults = waiting.popleft().result()
                        skipped |= faults
                        for name, fault in faults.items():
                            self.on_skip(self.dataset.name, name, fault)
                        if batch is not None:
                            has_image = has_image or bool(batch.samples)
                            yield batch
            finally:
                for future in waiting:
                    future.cancel()
        if not has_image and not first and skipped:
            name, fault = next(iter(skipped.items()))
            raise DataError(f"no image of {self.dataset.name} can be decoded: {name}: {fault}")

    def _batch(self, whole, repetitions, position):
        """Make this process's share of a batch.

        Args:
            whole: indices in the data set of the images of the whole batch.
            repetitions: how often each of them has come before in the epoch.
            position: (epoch, batch in the epoch).

        Returns:
            The ``Batch``; None if one device takes whole batches and no image can be decoded.
            {name: fault} of the images that cannot be decoded.
        """
        size = -(-len(whole) // (self.shares * self.devices)) * self.devices
        own = range(self.share * size, min((self.share + 1) * size, len(whole)))
        kept, generators, examples, faults = [], [], [], {}
        # (epoch,) for an image that comes the first time in the epoch, (epoch, count) for a repetition.
        # They are part of the seed, so each repetition has a generator of its own, and the first time an
        # image has the same generator as without repetitions.
        visits = [(position[0], *([count] if count else [])) for count in repetitions.tolist()]
        plans = None
        if self.augmenter is not None:
            plans = [self.augmenter.plan(int(index), *visit) for index, visit in zip(whole, visits)]
        for row in own:
            sample = self.dataset.samples[whole[row]]
            epoch, *count = visits[row]
            identity = epoch, int(whole[row]), *count
            generator = rng_module.generator(self.seed, rng_module.IMAGES, *identity)
            try:
                examples.append(self._example(sample, generator, plans and plans[row]))
            except DataError as error:
                if self.config.on_bad_data == "error":
                    raise
                faults[sample.name] = str(error)
                continue
            kept.append(row)
            generators.append(generator)
        samples = tuple(self.dataset.samples[whole[row]] for row in kept)
        rows = np.array(kept, int)
        if self.shares * self.devices > 1:
            missing = size - len(kept)
            examples += [self._filling()] * missing
            generators += [np.random.default_rng(0)] * missing
            rows = np.pad(rows, (0, missing))
        if not examples:
            return None, faults
        images, boxes, labels = zip(*examples)
        # From the headers of all images of the batch, so that all shares have the same shape even if an
        # image cannot be decoded.
        counts, resized = self._most_boxes_and_sizes(whole, plans)
        most = -(-max(self.min_boxes, *counts) // BOX_MULTIPLE) * BOX_MULTIPLE
        gt_boxes, gt_labels = padded_objects(boxes, labels, most)
        batch = Batch(
            images=transforms.pad(images, self.multiple, [size[::-1] for size in resized]),
            image_sizes=np.array([image.shape[:2] for image in images], "float32"),
            gt_boxes=gt_boxes,
            gt_labels=gt_labels,
            weights=np.pad(
                np.float32([sample.weight for sample in samples]), (0, len(images) - len(samples))
            ),
            samples=samples,
            position=position,
            indices=tuple(int(whole[row]) for row in kept),
            rows=rows,
            total=len(whole),
        )
        if self.make_targets is not None:
            batch = dataclasses.replace(batch, targets=self.make_targets(batch, generators))
        if self.to_device is not None:
            batch = dataclasses.replace(batch, on_device=self.to_device(batch))
        return batch, faults

    def _filling(self):
        """Return image, boxes and labels of a filling image."""
        image = np.zeros((0, 0, 3), "uint8" if self.config.uint8_images else "float32")
        size = 4 if self.box_kind == "axis_aligned" else 5
        return image, np.zeros((0, size), "float32"), np.zeros(0, "int32")

    def _most_boxes_and_sizes(self, whole, plans):
        """Return, for each image of a whole batch, an upper bound of its boxes, and (width, height)."""
        if plans is not None:
            return [plan.most_boxes for plan in plans], [plan.size for plan in plans]
        members = [self.dataset.samples[index] for index in whole]
        counts = [int((~sample.difficult).sum()) for sample in members]
        return counts, [
            transforms.resized_size(one.width, one.height, self.config)[0] for one in members
        ]

    def _example(self, sample, generator, plan):
        """Return image, boxes and labels of a sample, without the boxes marked difficult."""
        if plan is not None:
            example = self.augmenter(plan, bool(generator.random() < self.config.flip))
            used = ~example.difficult
            return example.image, example.boxes[used], example.labels[used]
        image, boxes = self.cache.get(sample, lambda: self._resized(sample))
        if self.training and generator.random() < self.config.flip:
            image, boxes = transforms.flip(image, boxes)
        return image, boxes, sample.labels[~sample.difficult]

    def _resized(self, sample):
        """Return the resized image and its boxes, without random changes."""
        boxes, whole = sample.boxes_of(self.box_kind)[~sample.difficult], (sample.width, sample.height)
        halves = self.config.half_jpeg and transforms.resized_size(*whole, self.config)[1] < 0.5
        return transforms.resize(self._loaded(sample, halves), boxes, self.config, whole)

    def _whole(self, sample):
        """Return the image in the size of its file, from the cache if it is there."""
        if sample.pixels is not None:
            return self._loaded(sample)
        return self.cache.get(sample, lambda: (self._loaded(sample), np.empty(0)), resized=False)[0]

    def _loaded(self, sample, halves=False):
        """Return the image in the size of its file, or a JPEG at half its size if ``halves``.

        Raises:
            DataError: it cannot be decoded, or its size has changed.
        """
        image = transforms.load(sample.path, halves) if sample.pixels is None else sample.pixels
        height, width = image.shape[:2]
        sizes = [(sample.width, sample.height)]
        if halves:
            sizes.append((-(-sample.width // 2), -(-sample.height // 2)))
        if (width, height) not in sizes:
            raise DataError(
                f"the image {sample.path} has {width}x{height} pixels now, but had "
                f"{sample.width}x{sample.height} when the data set was read"
            )
        return image
