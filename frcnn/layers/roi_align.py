"""RoIAlign: a fixed grid of features from each region of interest, at one or several levels.

He et al. 2017 (Mask R-CNN), section 3; the level of a RoI as Lin et al. 2017, section 4.2. Letters: B
images, h and w feature map, K channels, R RoIs, P pool size, S samples a bin along each axis.

Each bin is the mean of S x S bilinear samples. Samples up to one cell outside the map take the edge's
value, those farther out are 0, as all implementations have it. Decided here: a single level is a
pyramid of one.
"""

import math

import keras
from keras import ops

from frcnn.backend import (
    IS_TENSORFLOW,
    has_native_kernels,
    native_crop_and_resize,
    roi_align_of_format,
)
from frcnn.ops import boxes as box_ops

# A RoI of this side, the size of ImageNet's training images, belongs to the level of stride 16.
CANONICAL_SIDE = 224.0
CANONICAL_STRIDE = 16


@keras.saving.register_keras_serializable(package="frcnn")
class RoIAlign(keras.layers.Layer):
    """Pool a list of (B, h, w, K) features, finest first, in (B, R, 4) RoIs to (B, R, P, P, K).

    Args:
        strides: pixels of the network input a feature cell, for each level.
        pool_size: P.
        samples: S.
        aligned: whether a feature's value sits at its cell's centre, a shift by half a cell
            (Detectron2's ``aligned=True``). False repeats the original RoIAlign, where a RoI is also
            at least one cell wide and high.
    """

    def __init__(self, strides, pool_size=7, samples=2, aligned=True, **kwargs):
        # Not cast to float16 under mixed precision, which knows 700.3 only as 700.5.
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.pool_size = pool_size
        self.samples = samples
        self.aligned = aligned
        # XLA has no kernel for crop_and_resize, and Keras asks for XLA on a GPU unless a layer says so.
        self.supports_jit = not IS_TENSORFLOW

    def call(self, features, rois):
        batch, count = ops.shape(rois)[:2]
        image, rois, level = flatten_rois(rois, self.strides)
        if own := roi_align_of_format():
            cells = rois / ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
            settings = (self.pool_size, self.samples, self.aligned)
            pooled = level_by_level(own, features, level, (cells, image), settings)
        else:
            first, step = self._sample_grid(rois, level)
            sample = crop_samples if has_native_kernels() else gather_samples
            values = sample(features, level, image, first, step, self.pool_size * self.samples)
            pooled = ops.average_pool(values, self.samples, self.samples)
        return ops.reshape(pooled, (batch, count, *pooled.shape[1:]))

    def _sample_grid(self, rois, level):
        """Return the first sample and the step between samples, (N, 2) each, as x, y in cells."""
        stride = ops.take(ops.convert_to_tensor(self.strides, "float32"), level)[:, None]
        shift = 0.5 if self.aligned else 0.0
        corner = rois[:, :2] / stride - shift
        size = (rois[:, 2:] - rois[:, :2]) / stride
        if not self.aligned:
            size = ops.maximum(size, 1.0)
        step = size / (self.pool_size * self.samples)
        return corner + 0.5 * step, step

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[0][-1])

    def get_config(self):
        return {
            **super().get_config(),
            "strides": self.strides,
            "pool_size": self.pool_size,
            "samples": self.samples,
            "aligned": self.aligned,
        }


def flatten_rois(rois, strides):
    """Put the RoIs of all images into one axis.

    Args:
        rois: (B, R, 4).
        strides: of the levels, finest first.

    Returns:
        (B·R,) int32 image of each, (B·R, 4) float32 RoIs, (B·R,) int32 level that each is pooled from.
    """
    batch, count = ops.shape(rois)[:2]
    image = ops.repeat(ops.cast(ops.arange(batch), "int32"), count)
    rois = ops.reshape(ops.cast(rois, "float32"), (-1, 4))
    return image, rois, roi_levels(rois, strides)


def roi_levels(rois, strides):
    """Return the index of the level that each RoI is pooled from. Lin et al. 2017, equation 1.

    Args:
        rois: (N, 4).
        strides: of the levels, finest first.

    Returns:
        (N,) int32.
    """
    finest, coarsest = math.log2(strides[0]), math.log2(strides[-1])
    side = ops.sqrt(box_ops.area(rois))
    # The tiny addend keeps a RoI of exactly 112, 224, ... pixels on the upper side of its border.
    level = ops.floor(math.log2(CANONICAL_STRIDE) + ops.log2(side / CANONICAL_SIDE) + 1e-6)
    return ops.cast(ops.clip(level, finest, coarsest) - finest, "int32")


def crop_samples(features, level, image, first, step, points):
    """Sample with TensorFlow's ``crop_and_resize``, level by level: the fast way outside XLA.

    Args:
        features: list of (B, h, w, K).
        level, image: (N,) int32, where each RoI lies.
        first, step: (N, 2) x and y of the first sample and the distance to the next, cells.
        points: samples along each axis.

    Returns:
        (N, points, points, K) in the dtype of the features.
    """
    return level_by_level(_crop, features, level, (image, first, step), (points,))


def level_by_level(function, features, level, of_rois, settings):
    """Apply a function to each level and the RoIs that lie there.

    Args:
        function: of a map (B, h, w, K), the rows of ``of_rois`` on this level, and ``settings``.
        features: list of (B, h, w, K).
        level: (N,) int32.
        of_rois: arrays whose first axis is N.

    Returns:
        What the function returns, with N rows, in the order of the RoIs.
    """
    if len(features) == 1:
        return function(features[0], *of_rois, *settings)
    values, places = [], []
    for number, map_ in enumerate(features):
        place = ops.nonzero(level == number)[0]
        of_level = (ops.take(value, place, axis=0) for value in of_rois)
        values.append(function(map_, *of_level, *settings))
        places.append(place)
    return ops.take(ops.concatenate(values), ops.argsort(ops.concatenate(places)), axis=0)


def _crop(features, image, first, step, points):
    # Repeating the edge once makes samples up to one cell outside come out as the edge's value.
    padded = ops.pad(ops.cast(features, "float32"), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    last = ops.cast(ops.stack([ops.shape(padded)[2] - 1, ops.shape(padded)[1] - 1]), "float32")
    start = (first + 1.0) / last
    end = (first + 1.0 + step * (points - 1)) / last
    corners = ops.concatenate([start[:, ::-1], end[:, ::-1]], axis=-1)
    return ops.cast(native_crop_and_resize(padded, corners, image, points), features.dtype)


def gather_samples(features, level, image, first, step, points):
    """Sample by gathering each sample's four cells, all levels at once, in fixed shapes as XLA wants.

    Arguments and result as in ``crop_samples``.
    """
    flat, start, height, width = flatten_levels(features, level, image)
    place = first[..., None] + step[..., None] * ops.cast(ops.arange(points), "float32")
    left, right, x_share, x_inside = neighbours(place[:, 0], width[:, None])
    above, below, y_share, y_inside = neighbours(place[:, 1], height[:, None])
    x_share, y_share = x_share[:, None, :], y_share[:, :, None]

    def cell(row, column):
        index = start[:, None, None] + row[:, :, None] * width[:, None, None] + column[:, None, :]
        return ops.take(flat, index, axis=0)

    def weigh(values, weight):
        return values * ops.cast(weight, flat.dtype)[..., None]

    values = (
        weigh(cell(above, left), (1.0 - y_share) * (1.0 - x_share))
        + weigh(cell(above, right), (1.0 - y_share) * x_share)
        + weigh(cell(below, left), y_share * (1.0 - x_share))
        + weigh(cell(below, right), y_share * x_share)
    )
    return weigh(values, y_inside[:, :, None] & x_inside[:, None, :])


def flatten_levels(features, level, image):
    """Put the cells of all levels and images into one axis.

    Args:
        features: list of (B, h, w, K).
        level, image: (N,) int32, where each RoI lies.

    Returns:
        (cells of all, K), and for each RoI, (N,) int32: the first cell, the rows and the columns of its
        map.
    """
    channels = features[0].shape[-1]
    shapes = [ops.shape(map_)[1:3] for map_ in features]
    cells = [height * width for height, width in shapes]
    flat = ops.concatenate(
        [ops.reshape(map_, (-1, count, channels)) for map_, count in zip(features, cells)], axis=1
    )

    def of_level(values):
        return ops.take(ops.stack([ops.cast(value, "int32") for value in values]), level)

    start = image * sum(cells) + of_level([sum(cells[:number]) for number in range(len(cells))])
    height, width = (of_level(sides) for sides in zip(*shapes))
    return ops.reshape(flat, (-1, channels)), start, height, width


def neighbours(place, length):
    """Return the cells before and after (N, ...) places, the share of the latter, and if inside."""
    inside = (place >= -1.0) & (place <= ops.cast(length, "float32"))
    clamped = ops.clip(place, 0.0, ops.cast(length - 1, "float32"))
    before = ops.cast(ops.floor(clamped), "int32")
    after = ops.minimum(before + 1, length - 1)
    return before, after, clamped - ops.cast(before, "float32"), inside
