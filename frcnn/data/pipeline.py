"""Batches, prepared by background threads ahead of the training step.

Threads suffice: decoding, resizing and target assignment all run outside Python's lock.

Decided here: all chance in batch i of epoch e comes from that place's generator (``frcnn.chance``), so
the same seed gives the same batches in the same order whatever the number of workers.

An image that cannot be decoded is found here at the latest, as no header tells of it. Then
``on_bad_data`` decides once more: an error that names the file, or the image is left out of its batch
and recorded.

Letters: B images, H x W pixels, G ground-truth boxes (padded).
"""

import collections
import concurrent.futures
import dataclasses

import cv2
import numpy as np

from frcnn import chance
from frcnn.data import augment
from frcnn.data.cache import ImageCache
from frcnn.data.faults import announce
from frcnn.errors import DataError

# G is a multiple of this, so that few shapes occur and compiled steps are reused.
BOX_MULTIPLE = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """What one step works on.

    Attributes:
        images: (B, H, W, 3) uint8 (float32 without ``whole_levels``) RGB, padded.
        image_sizes: (B, 2) float32 height and width without padding, pixels.
        gt_boxes: (B, G, 4) float32 boxes in pixels of the network input; 0 is padding.
        gt_labels: (B, G) int32 object class; -1 is padding.
        weights: (B,) float32 weight of each image.
        samples: the ``Sample`` of each image.
        place: (epoch, batch in it), from 0.
        targets: what the pipeline's ``make_targets`` returned for the batch.
    """

    images: np.ndarray
    image_sizes: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    weights: np.ndarray
    samples: tuple
    place: tuple = (0, 0)
    targets: tuple = ()


class Pipeline:
    """Endless supply of a data set's batches, epoch by epoch.

    Args:
        dataset: ``frcnn.data.dataset.Dataset``.
        config: ``frcnn.config.DataConfig``.
        multiple: image sides are padded to a multiple of this, pixels.
        seed: of everything random.
        training: shuffle and flip; otherwise the order is the data set's and nothing is random.
        make_targets: optional function of (Batch, numpy generator) run in the workers; its result is
            put into ``Batch.targets``.
        record: function of (data set's name, image's name, fault), called once for each image that is
            left out.
        cache: ``ImageCache`` of resized images, which pipelines of the same ``config`` may share; None:
            each image is read anew each time.
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
        self.left_out = {}  # image's name -> fault

    def __len__(self):
        """Return the batches of one epoch; the last may be smaller."""
        return -(-len(self.dataset) // self.config.batch_size)

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
            order = chance.generator(self.seed, chance.ORDER, number).permutation(order)
        size = self.config.batch_size
        places = [(number, index) for index in range(first, len(self))]
        # One thread a worker: OpenCV's own, one pool in the whole process, would be in their way.
        options = {"initializer": cv2.setNumThreads, "initargs": (1,)}
        with concurrent.futures.ThreadPoolExecutor(self.config.workers, **options) as pool:
            waiting, yielded = collections.deque(), False
            try:
                for place in places:
                    group = order[place[1] * size : (place[1] + 1) * size]
                    waiting.append(pool.submit(self._batch, group, place))
                    last = place == places[-1]
                    while len(waiting) > (0 if last else self.config.prefetch):
                        batch, faults = waiting.popleft().result()
                        self._leave_out(faults)
                        if batch is not None:
                            yielded = True
                            yield batch
            finally:
                for future in waiting:
                    future.cancel()
        if not yielded and not first and self.left_out:
            name, fault = next(iter(self.left_out.items()))
            raise DataError(f"no image of {self.dataset.name} can be decoded: {name}: {fault}")

    def _leave_out(self, faults):
        """Record {image's name: fault}, once an image: the next epoch will find it again."""
        for name, fault in faults.items():
            if name not in self.left_out:
                self.left_out[name] = fault
                self.record(self.dataset.name, name, fault)

    def _batch(self, indices, place):
        """Return the ``Batch`` of the samples at ``indices``, its chance that of (epoch, batch).

        Returns:
            The batch, None where none of its images can be decoded; and {name: fault} of those.
        """
        generator = chance.generator(self.seed, chance.IMAGES, *place)
        samples, examples, faults = [], [], {}
        for sample in (self.dataset.samples[index] for index in indices):
            try:
                examples.append(self._example(sample, generator))
                samples.append(sample)
            except DataError as error:
                if self.config.on_bad_data == "error":
                    raise
                faults[sample.name] = str(error)
        if not samples:
            return None, faults
        images, boxes, labels = zip(*examples)
        most = max(self.least_boxes, *(len(one) for one in boxes))
        most = -(-most // BOX_MULTIPLE) * BOX_MULTIPLE
        gt_boxes = np.zeros((len(samples), most, 4), "float32")
        gt_labels = np.full((len(samples), most), -1, "int32")
        for row, (own_boxes, own_labels) in enumerate(zip(boxes, labels)):
            gt_boxes[row, : len(own_boxes)] = own_boxes
            gt_labels[row, : len(own_labels)] = own_labels
        batch = Batch(
            images=augment.pad(images, self.multiple),
            image_sizes=np.array([image.shape[:2] for image in images], "float32"),
            gt_boxes=gt_boxes,
            gt_labels=gt_labels,
            weights=np.array([sample.weight for sample in samples], "float32"),
            samples=tuple(samples),
            place=place,
        )
        if self.make_targets is not None:
            batch = dataclasses.replace(batch, targets=self.make_targets(batch, generator))
        return batch, faults

    def _example(self, sample, generator):
        """Return image, boxes and labels to train on: those that are not ``difficult``."""
        image, boxes = self.cache.get(sample, lambda: self._resized(sample))
        if self.training and generator.random() < self.config.flip:
            image, boxes = augment.flip(image, boxes)
        return image, boxes, sample.labels[~sample.difficult]

    def _resized(self, sample):
        """Return image and boxes as they are but for chance."""
        image = augment.load(sample.path)
        height, width = image.shape[:2]
        if (width, height) != (sample.width, sample.height):
            raise DataError(
                f"the image {sample.path} has become {width}x{height} pixels, and was "
                f"{sample.width}x{sample.height} when the data set was read"
            )
        return augment.resize(image, sample.boxes[~sample.difficult], self.config)
