"""RoIAlign: a fixed grid of features from each region of interest.

He et al. 2017 (Mask R-CNN), section 3. Letters: B images, h and w feature map, K channels, R RoIs,
P pool size, S samples a bin along each axis.

Each bin is the mean of S x S bilinear samples. Decided here: the half-pixel shift is on (a feature's
value sits at its cell's centre), as in Detectron2's ``aligned=True``; samples up to one cell outside
the map take the edge's value, those farther out are 0, as all implementations have it.
"""

import keras
from keras import ops

from frcnn.backend import IS_TENSORFLOW, native_crop_and_resize


@keras.saving.register_keras_serializable(package="frcnn")
class RoiAlign(keras.layers.Layer):
    """Pool (B, h, w, K) features in (B, R, 4) RoIs to (B, R, P, P, K).

    Args:
        stride: pixels of the network input a feature cell.
        pool_size: P.
        samples: S.
        aligned: whether to shift by half a cell; False repeats the original RoIAlign, where a RoI
            is also at least one cell wide and high.
    """

    def __init__(self, stride, pool_size=7, samples=2, aligned=True, **kwargs):
        # Not cast to float16 under mixed precision, which knows 700.3 only as 700.5.
        super().__init__(autocast=False, **kwargs)
        self.stride = stride
        self.pool_size = pool_size
        self.samples = samples
        self.aligned = aligned

    def call(self, features, rois):
        sample = crop_samples if IS_TENSORFLOW else matrix_samples
        first, step = self._sample_grid(ops.cast(rois, "float32"))
        points = self.pool_size * self.samples
        values = sample(features, first, step, points)
        batch, count = ops.shape(rois)[0], ops.shape(rois)[1]
        bins = (batch, count, self.pool_size, self.samples, self.pool_size, self.samples)
        return ops.mean(ops.reshape(values, bins + (features.shape[-1],)), axis=(3, 5))

    def _sample_grid(self, rois):
        """Return the first sample and the step between samples, (B, R, 2) each, as x, y in cells."""
        shift = 0.5 if self.aligned else 0.0
        corner = rois[..., :2] / self.stride - shift
        size = (rois[..., 2:] - rois[..., :2]) / self.stride
        if not self.aligned:
            size = ops.maximum(size, 1.0)
        step = size / (self.pool_size * self.samples)
        return corner + 0.5 * step, step

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.stride,
            "pool_size": self.pool_size,
            "samples": self.samples,
            "aligned": self.aligned,
        }


def crop_samples(features, first, step, points):
    """Sample with TensorFlow's ``crop_and_resize``: the fast way outside XLA.

    Args:
        features: (B, h, w, K).
        first, step: (B, R, 2) x and y of the first sample and the distance to the next, cells.
        points: samples along each axis.

    Returns:
        (B·R, points, points, K) in the dtype of ``features``.
    """
    # Repeating the edge once makes samples up to one cell outside come out as the edge's value.
    padded = ops.pad(ops.cast(features, "float32"), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    batch, count = ops.shape(first)[0], ops.shape(first)[1]
    last = ops.cast(ops.stack([ops.shape(padded)[2] - 1, ops.shape(padded)[1] - 1]), "float32")
    start = (first + 1.0) / last
    end = (first + 1.0 + step * (points - 1)) / last
    boxes = ops.concatenate([start[..., ::-1], end[..., ::-1]], axis=-1)
    index = ops.repeat(ops.arange(batch), count)
    values = native_crop_and_resize(
        padded, ops.reshape(boxes, (-1, 4)), ops.cast(index, "int32"), points
    )
    return ops.cast(values, features.dtype)


def matrix_samples(features, first, step, points):
    """Sample as two products with interpolation matrices: no gather, no scatter, XLA likes it.

    Arguments and result as in ``crop_samples``.
    """
    offsets = ops.cast(ops.arange(points), "float32")
    places = first[..., None] + step[..., None] * offsets  # (B, R, 2, points)
    across = _interpolation(places[:, :, 0], features.shape[2], features.dtype)
    down = _interpolation(places[:, :, 1], features.shape[1], features.dtype)
    rows = ops.einsum("brph,bhwk->brpwk", down, features)
    values = ops.einsum("brqw,brpwk->brpqk", across, rows)
    return ops.reshape(values, (-1, points, points, features.shape[-1]))


def _interpolation(places, length, dtype):
    """Return (..., points, length) weights of each cell in the sample at each place."""
    inside = (places >= -1.0) & (places <= length)
    clamped = ops.clip(places, 0.0, length - 1.0)
    distance = ops.abs(clamped[..., None] - ops.cast(ops.arange(length), "float32"))
    weights = ops.maximum(1.0 - distance, 0.0) * ops.cast(inside, "float32")[..., None]
    return ops.cast(weights, dtype)
