"""The two heads: the region proposal network, and the classifier of regions.

B: images, h and w: feature map, L: feature cells, A: anchors per cell, R: RoIs, P: pool size, K:
channels, C: classes with background last, D: numbers per box regression (4, or 6 for oriented boxes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, ops

from frcnn.config.schema import ModelConfig
from frcnn.errors import ConfigError
from frcnn.layers import conv
from frcnn.layers.roi_align import RoIAlign
from frcnn.layers.roi_pool import RoIPool
from frcnn.layers.rotated_roi_align import RotatedRoIAlign
from frcnn.ops.box_kinds import ORIENTED, BoxKind

Tensor = Any


def rpn(
    features: Tensor | Sequence[Tensor],
    num_anchors: int,
    channels: int = 512,
    box_dim: int = 4,
    conv_depth: int = 1,
    box_bias: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """Build the RPN: a small network that slides over the features. Ren et al. 2015, section 3.1.

    Args:
        features: (B, h, w, K) Keras tensor, or a list of them: a pyramid's levels, which share the
            weights (Lin et al. 2017, section 4.1).
        num_anchors: A.
        channels: of the 3x3 convolutions.
        box_dim: D.
        conv_depth: number of 3x3 convolutions; the paper has 1.
        box_bias: D initial deltas of each anchor; empty: 0.

    Returns:
        ``rpn_out_class`` (B, L, A) objectness scores and ``rpn_out_regress`` (B, L, A·D) deltas, level
        after level. The layer ``rpn_class_cells`` has the logits of the scores.
    """
    small = initializers.RandomNormal(stddev=0.01)
    convolutions = [
        conv.Conv2D(channels, 3, padding="same", activation="relu", kernel_initializer=small, name=name)
        for name in ("rpn_conv", *(f"rpn_conv{number}" for number in range(2, conv_depth + 1)))
    ]
    # Always float32: bfloat16 has 8 bits, too few to rank 10,000 logits or to place a box by deltas.
    last = {"kernel_initializer": small, "dtype": "float32"}
    to_logits = layers.Conv2D(num_anchors, 1, **last, name="rpn_class_logits")
    bias = initializers.Constant(np.tile(box_bias, num_anchors)) if any(box_bias) else "zeros"
    to_deltas = layers.Conv2D(num_anchors * box_dim, 1, **last, bias_initializer=bias, name="rpn_deltas")
    logits, deltas = [], []
    for x in [features] if isinstance(features, keras.KerasTensor) else features:
        for convolution in convolutions:
            x = convolution(x)
        logits.append(layers.Reshape((-1, num_anchors), dtype="float32")(to_logits(x)))
        deltas.append(layers.Reshape((-1, num_anchors * box_dim), dtype="float32")(to_deltas(x)))
    logits = layers.Concatenate(axis=1, dtype="float32", name="rpn_class_cells")(logits)
    scores = layers.Activation("sigmoid", dtype="float32", name="rpn_out_class")(logits)
    deltas = layers.Concatenate(axis=1, dtype="float32", name="rpn_out_regress")(deltas)
    return scores, deltas


def classifier(
    features: Sequence[Tensor],
    rois: Tensor,
    num_classes: int,
    roi_pooling: keras.layers.Layer,
    head: Callable[[Tensor], Tensor],
    box_dim: int = 4,
    class_agnostic: bool = False,
) -> tuple[Tensor, Tensor]:
    """Build the classifier of regions, which also refines boxes. Girshick 2015, sections 2.1 and 2.2.

    Args:
        features: list of (B, h, w, K) Keras tensors, the finest first.
        rois: (B, R, E) Keras tensor.
        num_classes: C.
        roi_pooling: ``RoIAlign`` or ``RoIPool`` for the levels of ``features``.
        head: function of pooled RoIs, (B·R, P, P, K) to (B·R, k), such as ``dense_head``.
        box_dim: D.
        class_agnostic: predict one box per RoI, which all classes share. The output still has a box for
            each class, so losses and detection work as ever.

    Returns:
        ``dense_class_C`` (B, R, C) class scores and ``dense_regress_C`` (B, R, (C-1)·D) deltas.
    """
    x = head(FlattenRois(name="flatten_rois")(roi_pooling(features, rois)))
    logits, deltas = predictor(x, num_classes, box_dim, class_agnostic)
    if class_agnostic:
        deltas = layers.RepeatVector(num_classes - 1, dtype="float32", name="box_of_each_class")(deltas)
        deltas = layers.Flatten(dtype="float32", name="boxes_of_classes")(deltas)
    logits = UnflattenRois(dtype="float32", name="class_rois")(logits, rois)
    scores = layers.Activation("softmax", dtype="float32", name=f"dense_class_{num_classes}")(logits)
    deltas = UnflattenRois(dtype="float32", name=f"dense_regress_{num_classes}")(deltas, rois)
    return scores, deltas


def roi_pooling(
    strides: Sequence[int], pool_size: int, config: ModelConfig, kind: BoxKind
) -> keras.layers.Layer:
    """Return the RoI pooling layer that ``config.pooling`` names.

    Args:
        strides: pixels of the network input per feature cell, for each level.
        pool_size: P.
        config: the section ``model``.
        kind: kind of the boxes; oriented ones always have ``RotatedRoIAlign``.
    """
    if kind is ORIENTED:
        return RotatedRoIAlign(strides, pool_size, config.pool_samples, name="roi_align")
    if config.pooling == "roi_pool":
        return RoIPool(strides, pool_size, name="roi_pool")
    return RoIAlign(strides, pool_size, config.pool_samples, config.pool_aligned, name="roi_align")


def count_levels(roi_pooling: keras.layers.Layer, strides: Sequence[int]) -> int:
    """Return the number of levels that a layer pools RoIs from.

    Args:
        roi_pooling: ``RoIAlign``, ``RoIPool`` or another layer with ``strides``.
        strides: of all levels of the backbone.

    Raises:
        ConfigError: the layer's strides are not those of the finest levels.
    """
    own = tuple(roi_pooling.strides)
    if own != tuple(strides[: len(own)]):
        raise ConfigError(
            f"roi_pooling has the strides {own}, but the backbone's finest levels have "
            f"{tuple(strides[: len(own)])}"
        )
    return len(own)


def dense_head(x: Tensor, widths: Sequence[int] = (4096, 4096), dropout: float = 0.0) -> Tensor:
    """Apply dense layers to pooled RoIs: (N, P, P, K) to (N, last width)."""
    x = layers.Flatten(name="head_flatten")(x)
    for number, width in enumerate(widths, start=1):
        x = layers.Dense(
            width, activation="relu", kernel_initializer="he_normal", name=f"head_dense{number}"
        )(x)
        x = layers.Dropout(dropout, name=f"head_dropout{number}")(x)
    return x


def convolutional_head(
    x: Tensor,
    depth: int = 4,
    channels: int = 256,
    width: int = 1024,
    epsilon: float = conv.EPSILON,
    frozen_batch_norm: bool = False,
) -> Tensor:
    """Apply 3x3 convolutions with batch normalization to pooled RoIs, then one dense layer.

    Wu and He 2018 ("Group normalization"), section 4.2, who use group normalization.

    Args:
        x: (N, P, P, K) Keras tensor.
        depth, channels: number of convolutions, and of their channels.
        width: number of units of the dense layer.
        epsilon: of batch normalization.
        frozen_batch_norm: whether batch normalization is frozen.

    Returns:
        (N, width) Keras tensor.
    """
    for number in range(1, depth + 1):
        names = (f"head_conv{number}", f"head_conv{number}_bn")
        x = conv.conv_bn(x, channels, 3, names, 1, "relu", epsilon, trainable_norm=not frozen_batch_norm)
    return dense_head(x, (width,))


def predictor(
    x: Tensor, num_classes: int, box_dim: int = 4, class_agnostic: bool = False
) -> tuple[Tensor, Tensor]:
    """Return class logits (N, C) and box deltas, float32, from RoI features (N, k).

    The deltas are (N, (C-1)·D), or (N, D) if ``class_agnostic``.
    """

    def dense(units, stddev, name):
        small = initializers.RandomNormal(stddev=stddev)
        return layers.Dense(units, kernel_initializer=small, dtype="float32", name=name)(x)

    logits = dense(num_classes, 0.01, "class_logits")
    boxes = 1 if class_agnostic else num_classes - 1
    return logits, dense(boxes * box_dim, 0.001, "box_deltas")


@keras.saving.register_keras_serializable(package="frcnn")
class FlattenRois(layers.Layer):
    """Merge the image axis and the RoI axis: (B, R, P, P, K) to (B·R, P, P, K)."""

    def call(self, pooled: Tensor) -> Tensor:
        return ops.reshape(pooled, (-1, *pooled.shape[2:]))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable(package="frcnn")
class UnflattenRois(layers.Layer):
    """Split the merged axis again: (B·R, k) to (B, R, k), with B and R from the rois (B, R, E)."""

    def call(self, values: Tensor, rois: Tensor) -> Tensor:
        return ops.reshape(values, (ops.shape(rois)[0], ops.shape(rois)[1], values.shape[-1]))

    def compute_output_shape(self, values_shape, rois_shape):
        return (*rois_shape[:2], values_shape[-1])
