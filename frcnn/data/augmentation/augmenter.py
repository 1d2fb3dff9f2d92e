"""``Augmenter``: the random changes of training images, in their order.

All random numbers on which the size of an image depends are drawn before the image is decoded. Processes
that share a batch must use the same shape, and each decodes only its own images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from frcnn import rng as rng_module
from frcnn.config.augment_section import AugmentConfig
from frcnn.config.schema import DataConfig
from frcnn.data import oriented, transforms
from frcnn.data.augmentation import affine, crop, mosaic, photometric
from frcnn.data.augmentation.example import Example, clip, empty
from frcnn.data.sample import Dataset, Sample
from frcnn.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The random choices for one image before it is decoded. A plan can be used once.

    Attributes:
        sample: the image.
        window: x1, y1, x2, y2 of the crop, pixels of the image file.
        size: (width, height) of the network input, before padding.
        rng: generator of all later random numbers.
        others: plans of the other images of a mosaic; empty: no mosaic.
    """

    sample: Sample
    window: tuple[int, int, int, int]
    size: tuple[int, int]
    rng: np.random.Generator
    others: tuple[Plan, ...] = ()

    @property
    def most_boxes(self) -> int:
        """Largest number of boxes that the image can have, without difficult ones."""
        return int((~self.sample.difficult).sum()) + sum(other.most_boxes for other in self.others)


class Augmenter:
    """Changes images and boxes at random. Each image has its own random generator in each epoch.

    The changes in their order, each only if its setting is on:

    1. crop (``augment.crop``) of the image in the size of its file;
    2. resize to one of ``augment.short_sides``, or to ``data.short_side``;
    3. scale jitter: the content is resized by a factor, then cut or padded to the size of step 2
       (Ghiasi et al. 2021, "Simple Copy-Paste", section 3: large-scale jitter is 0.1 to 2.0);
    4. horizontal flip (``data.flip``), vertical flip;
    5. shear and rotation, in one warp;
    6. mosaic: three other images go through steps 1 to 5 as well, and each fills a quarter;
    7. colour, 8. blur, 9. JPEG compression.

    Boxes are clipped at each cut. ``example.MIN_VISIBLE`` decides which boxes remain after a cut.
    Difficult boxes go through all steps like the others.

    Args:
        dataset: images and boxes.
        data: the section ``data`` of the settings.
        config: the section ``augment`` of the settings.
        seed: seed of all random numbers.
        load: function from a ``Sample`` to its image (H, W, 3) uint8, which is not changed.
        box_kind: the setting ``box.kind``.
    """

    def __init__(
        self,
        dataset: Dataset,
        data: DataConfig,
        config: AugmentConfig,
        seed: int,
        load: Callable[[Sample], np.ndarray],
        box_kind: str = "axis_aligned",
    ):
        self.dataset, self.data, self.config, self.seed, self.load = dataset, data, config, seed, load
        self.box_kind = box_kind

    def plan(self, index: int, *position: int) -> Plan:
        """Draw the random choices on which the size of an image depends.

        Args:
            index: index of the image in the data set.
            position: numbers that identify the use of the image: the epoch, and the repetition in it.
        """
        rng = rng_module.generator(self.seed, rng_module.AUGMENTATION, index, *position)
        own = self._plan(self.dataset.samples[index], rng)
        if rng.random() >= self.config.mosaic:
            return own
        chosen = rng.integers(len(self.dataset), size=mosaic.OTHERS)
        others = tuple(self._plan(self.dataset.samples[other], rng) for other in chosen)
        return dataclasses.replace(own, others=others)

    def _plan(self, sample, rng):
        window = (0, 0, sample.width, sample.height)
        if rng.random() < self.config.crop:
            boxes = sample.boxes_of(self.box_kind)
            used = boxes[~sample.difficult] if not sample.difficult.all() else boxes
            window = crop.draw_window(sample.width, sample.height, used, rng)
        data = self.data
        if self.config.short_sides:
            data = data.model_copy(update={"short_side": int(rng.choice(self.config.short_sides))})
        size, _ = transforms.resized_size(window[2] - window[0], window[3] - window[1], data)
        return Plan(sample, window, size, rng)

    def __call__(self, plan: Plan, flip: bool) -> Example:
        """Return the image and its boxes.

        Args:
            plan: result of ``plan``; it can be used once.
            flip: whether to mirror the image left to right; the caller draws it.

        Raises:
            DataError: the image cannot be decoded.
        """
        rng, config = plan.rng, self.config
        if plan.others:
            flips = [flip, *(rng.random(len(plan.others)) < self.data.flip)]
            scales = rng.uniform(*mosaic.SCALES, len(flips))
            parts = [self._placed(plan, flip, scales[0])]
            for other, mirrored, shrink in zip(plan.others, flips[1:], scales[1:]):
                try:
                    parts.append(self._placed(other, bool(mirrored), shrink))
                except DataError:
                    # Its quarter stays empty. The loader reports the fault when it loads this image.
                    numbers = parts[0].boxes.shape[1]
                    parts.append(empty(plan.size, parts[0].image.dtype, numbers))
            example = mosaic.put_together(parts, plan.size, rng)
        else:
            example = self._placed(plan, flip)
        image = example.image
        if config.colour:
            image = photometric.jitter_colour(image, config.colour, rng)
        if config.blur:
            image = photometric.blur(image, config.blur, rng)
        if config.jpeg_quality:
            image = photometric.compress(image, config.jpeg_quality, rng)
        return example.replace(image=image)

    def _placed(self, plan: Plan, flip: bool, shrink: float = 1.0) -> Example:
        """Return an image after all steps that move boxes, with its size multiplied by ``shrink``."""
        rng, config = plan.rng, self.config
        canvas = _times(plan.size, shrink)
        low, high = config.scale_jitter or (1.0, 1.0)
        jitter = rng.uniform(low, high)
        example = self._resized(plan, _times(canvas, jitter))
        if config.scale_jitter:
            example = mosaic.place_at_random(example, canvas, rng)
        if flip:
            image, boxes = transforms.flip(example.image, example.boxes)
            example = example.replace(image=image, boxes=boxes)
        if rng.random() < config.vertical_flip:
            example = affine.flip_vertically(example)
        if config.rotation or config.shear:
            angle = rng.uniform(-config.rotation, config.rotation)
            shears = rng.uniform(-config.shear, config.shear, 2)
            example = affine.warp(example, affine.matrix(canvas, angle, *shears))
        return example

    def _resized(self, plan, size):
        """Return the example of a plan's window, resized to (width, height)."""
        sample, (x1, y1, x2, y2) = plan.sample, plan.window
        boxes, visible = clip(sample.boxes_of(self.box_kind), plan.window)
        boxes = oriented.shift(boxes, -x1, -y1)
        window = self.load(sample)[y1:y2, x1:x2]
        image, boxes = transforms.resize_to(window, boxes, size, self.data)
        return Example(image, boxes, sample.labels, sample.difficult, visible).clipped()


def _times(size, factor):
    width, height = (max(1, round(side * factor)) for side in size)
    return width, height
