"""Rotated RoIAlign: a fixed grid of features from each oriented region of interest.

Xie et al. 2021 ("Oriented R-CNN"), section 3.2: RoIAlign (He et al. 2017, section 3) along the sides of
the oriented box. So the pooled features of an object do not depend on its angle.

B: images, h x w: feature map, K: channels, R: RoIs, P: pool size, S: samples per bin along each axis,
N = B·R: RoIs of all images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from frcnn.layers.roi_align import flatten_levels, neighbours, roi_levels
from frcnn.ops import oriented_boxes

Tensor = Any


@keras.saving.register_keras_serializable(package="frcnn")
class RotatedRoIAlign(keras.layers.Layer):
    """Pool oriented RoIs by RoIAlign.

    Inputs: a list of features (B, h, w, K), the finest first, and rois (B, R, 5). Output:
    (B, R, P, P, K), whose columns lie along the RoI's side ``w`` and whose rows lie along ``h``. Each
    bin is the mean of S x S bilinear samples, with a feature's value at the centre of its cell. For an
    angle of 0 the result is that of ``RoIAlign`` with ``aligned=True``.

    Args:
        strides: pixels of the network input per feature cell, for each level.
        pool_size: P.
        samples: S.

    Example:
        >>> pooled = RotatedRoIAlign(strides=[16])([features], rois)
    """

    def __init__(self, strides: Sequence[int], pool_size: int = 7, samples: int = 2, **kwargs: Any):
        # Under mixed precision the RoIs must not be cast to float16, in which 700.3 becomes 700.5.
        super().__init__(autocast=False, **kwargs)
        self.strides = tuple(strides)
        self.pool_size = pool_size
        self.samples = samples

    def call(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        batch, count = ops.shape(rois)[:2]
        image = ops.repeat(ops.cast(ops.arange(batch), "int32"), count)
        rois = ops.reshape(ops.cast(rois, "float32"), (-1, 5))
        level = roi_levels(oriented_boxes.upright(rois), self.strides)
        stride = ops.take(ops.convert_to_tensor(self.strides, "float32"), level)
        points = sample_points(rois, self.pool_size * self.samples) / stride[:, None, None, None] - 0.5
        values = sample_features(features, level, image, points)
        pooled = ops.average_pool(values, self.samples, self.samples)
        return ops.reshape(pooled, (batch, count, *pooled.shape[1:]))

    def compute_output_shape(self, features_shape, rois_shape):
        return (*rois_shape[:2], self.pool_size, self.pool_size, features_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        own = {"strides": self.strides, "pool_size": self.pool_size, "samples": self.samples}
        return super().get_config() | own


def sample_points(rois: Tensor, points: int) -> Tensor:
    """Return the sample points of oriented RoIs: the centres of ``points`` x ``points`` equal parts.

    Args:
        rois: (N, 5).
        points: number of samples along each side.

    Returns:
        (N, points, points, 2) x and y in pixels of the network input.
    """
    share = (ops.cast(ops.arange(points), "float32") + 0.5) / points - 0.5  # of a side, from the centre
    along = share[None, None, :] * rois[:, 2, None, None]
    across = share[None, :, None] * rois[:, 3, None, None]
    cos, sin = ops.cos(rois[:, 4])[:, None, None], ops.sin(rois[:, 4])[:, None, None]
    x = rois[:, 0, None, None] + cos * along - sin * across
    y = rois[:, 1, None, None] + sin * along + cos * across
    return ops.stack([x, y], axis=-1)


def sample_features(features: Sequence[Tensor], level: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Sample features at any points by gathering the four cells around each. All shapes are fixed.

    Args:
        features: list of (B, h, w, K).
        level, image: (N,) int32, each RoI's level and image.
        points: (N, p, q, 2) x and y in cells of that level; 0 is the centre of the first cell.

    Returns:
        (N, p, q, K) in the dtype of the features; 0 for points farther than one cell outside.
    """
    flat, start, height, width = flatten_levels(features, level, image)
    start, height, width = (value[:, None, None] for value in (start, height, width))
    left, right, x_share, x_inside = neighbours(points[..., 0], width)
    above, below, y_share, y_inside = neighbours(points[..., 1], height)
    inside = ops.cast(x_inside & y_inside, "float32")

    def weighed(row, column, weight):
        values = ops.take(flat, start + row * width + column, axis=0)
        return values * ops.cast(weight * inside, flat.dtype)[..., None]

    return (
        weighed(above, left, (1.0 - y_share) * (1.0 - x_share))
        + weighed(above, right, (1.0 - y_share) * x_share)
        + weighed(below, left, y_share * (1.0 - x_share))
        + weighed(below, right, y_share * x_share)
    )
