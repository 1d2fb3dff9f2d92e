"""Batches, prepared by background threads ahead of the training step.

Threads suffice: decoding, resizing and target assignment all run outside Python's lock.

Decided here: all chance in batch i of epoch e comes from a generator seeded with (seed, e, i), so the
same seed gives the same batches in the same order whatever the number of workers.

Letters: B images, H x W pixels, G ground-truth boxes (padded).
"""

import collections
import concurrent.futures
import dataclasses

import numpy as np

from frcnn.data import augment

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
        targets: what the pipeline's ``make_targets`` returned for the batch.
    """

    images: np.ndarray
    image_sizes: np.ndarray
    gt_boxes: np.ndarray
    gt_labels: np.ndarray
    weights: np.ndarray
    samples: tuple
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
    """

    def __init__(self, dataset, config, multiple, seed=0, training=True, make_targets=None):
        self.dataset = dataset
        self.config = config
        self.multiple = multiple
        self.seed = seed
        self.training = training
        self.make_targets = make_targets

    def __len__(self):
        """Return the batches of one epoch; the last may be smaller."""
        return -(-len(self.dataset) // self.config.batch_size)

    def epoch(self, number=0):
        """Yield the batches of one epoch, each image once, prepared ahead by background threads."""
        order = np.arange(len(self.dataset))
        if self.training:
            order = np.random.default_rng((self.seed, number)).permutation(order)
        size = self.config.batch_size
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        with concurrent.futures.ThreadPoolExecutor(self.config.workers) as pool:
            waiting = collections.deque()
            try:
                for index, group in enumerate(groups):
                    waiting.append(pool.submit(self.batch, group, (self.seed, number, index)))
                    if len(waiting) > self.config.prefetch:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def batch(self, indices, seed=0):
        """Return the ``Batch`` of the samples at ``indices``, its chance drawn from ``seed``."""
        generator = np.random.default_rng(seed)
        samples = tuple(self.dataset.samples[index] for index in indices)
        images, boxes, labels = zip(*(self._example(sample, generator) for sample in samples))
        most = max(len(one) for one in boxes)
        most = max(1, -(-most // BOX_MULTIPLE)) * BOX_MULTIPLE
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
            samples=samples,
        )
        if self.make_targets is None:
            return batch
        return dataclasses.replace(batch, targets=self.make_targets(batch, generator))

    def _example(self, sample, generator):
        """Return image, boxes and labels to train on: those that are not ``difficult``."""
        image = augment.load(sample.path)
        boxes, labels = sample.boxes[~sample.difficult], sample.labels[~sample.difficult]
        image, boxes = augment.resize(image, boxes, self.config)
        if self.training and generator.random() < self.config.flip:
            image, boxes = augment.flip(image, boxes)
        return image, boxes, labels
