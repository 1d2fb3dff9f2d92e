"""Batches, prepared by background threads ahead of the training step.

Threads suffice: decoding, resizing and target assignment all run outside Python's lock.

Decided here: all chance of an image in an epoch comes from that place's generator (``frcnn.rng``), so
the same seed gives the same batches in the same order whatever the number of threads, and an image is
treated alike whoever it shares a batch with.

Several processes that train together each take a share of every batch, and all shares have the same
shapes: as many images, padded to one size, and as many boxes, as the whole batch needs. Where there are
too few images, or one cannot be decoded, a share is filled up with images of no size, no box and
weight 0, from which nothing is learnt; so no process ever waits for another that has no batch.

An image that cannot be decoded is found here at the latest, as no header tells of it. Then
``on_bad_data`` decides once more: an error that names the file, or the image is skipped of its batch
and recorded.

Letters: B images, H x W pixels, G ground-truth boxes (padded).
"""

import collections
import concurrent.futures
import dataclasses

import cv2
import numpy as np

from frcnn import rng
from frcnn.data import transforms
from frcnn.data.cache import ImageCache
from frcnn.data.faults import announce
from frcnn.errors import DataError

# G is a multiple of this, so that few shapes occur and compiled steps are reused.
BOX_MULTIPLE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What one step works on.

    Attributes:
        images: (B, H, W, 3) uint8 (float32 without ``uint8_images``) RGB, padded.
        image_sizes: (B, 2) float32 height and width without padding, pixels; 0: the image only fills.
        gt_boxes: (B, G, 4) float32 boxes in pixels of the network input; 0 is padding.
        gt_labels: (B, G) int32 object class; -1 is padding.
        weights: (B,) float32 weight of each image.
        samples: the ``Sample`` of each image; none for those that only fill, at the end.
        place: (epoch, batch in it), from 0.
        targets: what the pipeline's ``make_targets`` returned for the batch.
        indices: the place of each of ``samples`` in the data set.
        rows: (B,) int64: which of the whole batch each image is; any for those that only fill.
        total: images that the whole batch was to have, all processes' together.
    """

    images: np.ndarray
    image_sizes: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    weights: np.ndarray
    samples: tuple
    place: tuple = (0, 0)
    targets: tuple = ()
    indices: tuple = ()
    rows: np.ndarray | None = None
    total: int | None = None

    def __post_init__(self):
        if self.rows is None:  # a whole batch
            object.__setattr__(self, "rows", np.arange(len(self.images)))
            object.__setattr__(self, "total", len(self.images))


class DataLoader:
    """Endless supply of a data set's batches, epoch by epoch.

    Args:
        dataset: ``frcnn.data.sample.Dataset``.
        config: ``frcnn.config.schema.DataConfig``.
        multiple: image sides are padded to a multiple of this, pixels.
        seed: of everything random.
        training: shuffle and flip; otherwise the order is the data set's and nothing is random.
        make_targets: optional function of (Batch, a numpy generator for each of its images) run in the
            threads; its result is put into ``Batch.targets``.
        record: function of (data set's name, image's name, fault), called once for each image that is
            skipped.
        cache: ``ImageCache`` of resized images, which pipelines of the same ``config`` may share; None:
            each image is read anew each time.
        share: (which, of how many) equal shares of each batch to supply; a whole batch then has
            ``config.batch_size`` images for each of them.
    """

    def __init__(
        self,
        dataset,
        config,
        multiple,
        seed=0,
        training=True,
        make_targets=None,
        record=announce,
        cache=None,
        share=(0, 1),
    ):
        self.dataset = dataset
        self.config = config
        self.multiple = multiple
        self.seed = seed
        self.training = training
        self.make_targets = make_targets
        self.record = record
        self.cache = ImageCache(0) if cache is None else cache
        self.least_boxes = 1  # G, before it is padded
        if config.pad_multiple:  # few shapes are wanted: the most boxes of any image, for all
            counts = [int((~sample.difficult).sum()) for sample in dataset.samples]
            self.least_boxes = max([1, *counts])
        self.share, self.shares = share
        self.batch_size = config.batch_size * self.shares
        self.skipped_images = {}  # image's name -> fault

    def __len__(self):
        """Return the batches of one epoch; the last may be smaller."""
        return -(-len(self.dataset) // self.batch_size)

    def epoch(self, number=0, first=0):
        """Yield the batches of one epoch, each image once, prepared ahead by background threads.

        Args:
            number: of the epoch, from 0.
            first: the batch to begin with, from 0.

        Raises:
            DataError: an image cannot be decoded and ``on_bad_data`` is ``"error"``, or none can.
        """
        order = np.arange(len(self.dataset))
        if self.training:
            order = rng.generator(self.seed, rng.ORDER, number).permutation(order)
        size = self.batch_size
        places = [(number, index) for index in range(first, len(self))]
        # One thread a worker: OpenCV's own, one pool in the whole process, would be in their way.
        options = {"initializer": cv2.setNumThreads, "initargs": (1,)}
        with concurrent.futures.ThreadPoolExecutor(self.config.loader_threads, **options) as pool:
            waiting, found = collections.deque(), False
            try:
                for place in places:
                    group = order[place[1] * size : (place[1] + 1) * size]
                    waiting.append(pool.submit(self._batch, group, place))
                    last = place == places[-1]
                    while len(waiting) > (0 if last else self.config.prefetch):
                        batch, faults = waiting.popleft().result()
                        for name, fault in faults.items():
                            self.skip_image(name, fault)
                        if batch is not None:
                            found = found or bool(batch.samples)
                            yield batch
            finally:
                for future in waiting:
                    future.cancel()
        if not found and not first and self.skipped_images:
            name, fault = next(iter(self.skipped_images.items()))
            raise DataError(f"no image of {self.dataset.name} can be decoded: {name}: {fault}")

    def skip_image(self, name, fault):
        """Record an image that cannot be decoded, once: the next epoch will find it again."""
        if name not in self.skipped_images:
            self.skipped_images[name] = fault
            self.record(self.dataset.name, name, fault)

    def _batch(self, whole, place):
        """Return this process' share of the batch of the samples at ``whole``, an array of indices.

        Returns:
            The ``Batch``, None where none of its images can be decoded and it need not be filled; and
            {name: fault} of those.
        """
        size = -(-len(whole) // self.shares)
        own = range(self.share * size, min((self.share + 1) * size, len(whole)))
        kept, generators, examples, faults = [], [], [], {}
        for row in own:
            sample = self.dataset.samples[whole[row]]
            generator = rng.generator(self.seed, rng.IMAGES, place[0], int(whole[row]))
            try:
                examples.append(self._example(sample, generator))
            except DataError as error:
                if self.config.on_bad_data == "error":
                    raise
                faults[sample.name] = str(error)
                continue
            kept.append(row)
            generators.append(generator)
        samples = tuple(self.dataset.samples[whole[row]] for row in kept)
        rows = np.array(kept, int)
        if self.shares > 1:
            missing = size - len(kept)
            examples += [self._no_image()] * missing
            generators += [np.random.default_rng(0)] * missing
            rows = np.pad(rows, (0, missing))
        if not examples:
            return None, faults
        images, boxes, labels = zip(*examples)
        # Of the whole batch as it was declared, so that all shares have one shape, whatever is decoded.
        members = [self.dataset.samples[index] for index in whole]
        most = max(self.least_boxes, *(int((~sample.difficult).sum()) for sample in members))
        most = -(-most // BOX_MULTIPLE) * BOX_MULTIPLE
        resized = [transforms.resized_size(one.width, one.height, self.config)[0] for one in members]
        gt_boxes = np.zeros((len(images), most, 4), "float32")
        gt_labels = np.full((len(images), most), -1, "int32")
        for row, (own_boxes, own_labels) in enumerate(zip(boxes, labels)):
            gt_boxes[row, : len(own_boxes)] = own_boxes
            gt_labels[row, : len(own_labels)] = own_labels
        batch = Batch(
            images=transforms.pad(images, self.multiple, [size[::-1] for size in resized]),
            image_sizes=np.array([image.shape[:2] for image in images], "float32"),
            gt_boxes=gt_boxes,
            gt_labels=gt_labels,
            weights=np.pad(
                np.array([sample.weight for sample in samples], "float32"),
                (0, len(images) - len(samples)),
            ),
            samples=samples,
            place=place,
            indices=tuple(int(whole[row]) for row in kept),
            rows=rows,
            total=len(whole),
        )
        if self.make_targets is not None:
            batch = dataclasses.replace(batch, targets=self.make_targets(batch, generators))
        return batch, faults

    def _no_image(self):
        """Return image, boxes and labels of what only fills a batch."""
        image = np.zeros((0, 0, 3), "uint8" if self.config.uint8_images else "float32")
        return image, np.zeros((0, 4), "float32"), np.zeros(0, "int32")

    def _example(self, sample, generator):
        """Return image, boxes and labels to train on: those that are not ``difficult``."""
        image, boxes = self.cache.get(sample, lambda: self._resized(sample))
        if self.training and generator.random() < self.config.flip:
            image, boxes = transforms.flip(image, boxes)
        return image, boxes, sample.labels[~sample.difficult]

    def _resized(self, sample):
        """Return image and boxes as they are but for chance."""
        image = transforms.load(sample.path) if sample.pixels is None else sample.pixels
        height, width = image.shape[:2]
        if (width, height) != (sample.width, sample.height):
            raise DataError(
                f"the image {sample.path} has become {width}x{height} pixels, and was "
                f"{sample.width}x{sample.height} when the data set was read"
            )
        return transforms.resize(image, sample.boxes[~sample.difficult], self.config)
