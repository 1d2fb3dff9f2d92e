"""Operations that ``keras.ops`` lacks, or for which TensorFlow has a much faster kernel."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import keras

from frcnn.backend import device
from frcnn.backend.choice import IS_TENSORFLOW, Tensor

if IS_TENSORFLOW:
    import tensorflow as tf
else:
    import jax
    import jax.numpy as jnp

_portable = contextvars.ContextVar("portable kernels", default=False)
_roi_align: contextvars.ContextVar[Callable | None] = contextvars.ContextVar("RoIAlign", default=None)


@contextlib.contextmanager
def portable_kernels(roi_align: Callable | None = None) -> Iterator[None]:
    """Within this context, trace only operations of fixed shapes, which ONNX, LiteRT and XLA support.

    None of them supports ``CropAndResize`` and ``CombinedNonMaxSuppression``.

    Args:
        roi_align: the RoIAlign operation of the file's format; None if the format has none. Its
            arguments are features (B, h, w, K), RoIs (N, 4) in cells, the image of each RoI (N,) int32,
            and ``pool_size``, ``samples`` and ``aligned`` of ``RoIAlign``. It returns (N, P, P, K).
    """
    portable, own = _portable.set(True), _roi_align.set(roi_align)
    try:
        yield
    finally:
        _portable.reset(portable)
        _roi_align.reset(own)


def has_native_kernels() -> bool:
    """Return whether kernels that only TensorFlow has may be used in the current context."""
    return IS_TENSORFLOW and not _portable.get()


def has_native_crop() -> bool:
    """Return whether RoIAlign may use ``native_crop_and_resize`` in the current context."""
    return has_native_kernels() and not device.gathers_rois()


def roi_align_of_format() -> Callable | None:
    """Return the ``roi_align`` that ``portable_kernels`` was given in the current context."""
    return _roi_align.get()


def native_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int) -> Tensor:
    """Apply TensorFlow's greedy NMS to one image. Its kernels do not run under XLA.

    Args:
        boxes: (N, 4).
        scores: (N,). Boxes with a score of minus infinity are skipped.
        iou_threshold: a box whose IoU with a kept box is larger is dropped.
        max_output: the largest number of boxes to keep.

    Returns:
        Up to ``max_output`` int32 indices, best first.
    """
    if not device.computes_on_cpu():
        return tf.image.non_max_suppression(boxes, scores, max_output, iou_threshold)
    # On a CPU this kernel is about four times as fast. But it returns scores, not indices, and the order
    # of equal scores is undefined. So it gets ranks in place of scores: N for the best box, 1 for the
    # last.
    count = tf.size(scores)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    ranks = tf.cast(tf.range(count, 0, -1), tf.float32)
    ranks = tf.where(tf.gather(scores, order) > -float("inf"), ranks, 0.0)
    found = tf.image.combined_non_max_suppression(
        tf.gather(boxes, order)[None, :, None],
        ranks[None, :, None],
        max_output_size_per_class=max_output,
        max_total_size=max_output,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    ranks = found.nmsed_scores[0, : found.valid_detections[0]]
    return tf.gather(order, count - tf.cast(ranks, tf.int32))


def padded_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, max_output: int) -> Tensor:
    """Apply greedy NMS to one image by an operation that ONNX, LiteRT and XLA also have.

    Args:
        boxes, scores, iou_threshold, max_output: as for ``native_nms``.

    Returns:
        (max_output,) int32 indices, best first; -1 after the last kept box.
    """
    kept, count = tf.raw_ops.NonMaxSuppressionV4(
        boxes=boxes,
        scores=scores,
        max_output_size=max_output,
        iou_threshold=iou_threshold,
        score_threshold=tf.float32.min,  # minus infinity is skipped
        pad_to_max_output_size=True,
    )
    return tf.where(tf.range(max_output) < count, kept, -1)


def native_crop_and_resize(images: Tensor, boxes: Tensor, box_indices: Tensor, crop_size: int) -> Tensor:
    """Cut boxes out of images by TensorFlow's kernel, which does not run under XLA.

    Args:
        images: (B, H, W, C) float32.
        boxes: (N, 4) ``[y1, x1, y2, x2]`` in units of the image's last row and column. The first and the
            last samples lie on the box's edges.
        box_indices: (N,) int32, the image of each box.
        crop_size: samples along each side.

    Returns:
        (N, crop_size, crop_size, C) bilinear samples.
    """
    return tf.image.crop_and_resize(images, boxes, box_indices, (crop_size, crop_size))


def map_images(function: Callable, arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Apply a function to the arrays of each image of a batch.

    JAX works on all images at once: a loop would leave each of several devices with all images. Under
    ``portable_kernels``, with a known batch size, the graph has no loop: converters do not support all
    loops, and runtimes run them slowly.

    Args:
        function: function from a tuple of arrays of one image to a tuple of arrays.
        arrays: arrays whose first axis is the images.

    Returns:
        The results, stacked along a first axis.
    """
    count = arrays[0].shape[0]
    if not IS_TENSORFLOW:
        return jax.vmap(function)(arrays)
    if has_native_kernels() or count is None:
        return keras.ops.map(function, arrays)
    rows = [function(tuple(array[number] for array in arrays)) for number in range(count)]
    return tuple(tf.stack(column) for column in zip(*rows))


def sum_of_squares(tensor: Tensor) -> Tensor:
    """Return the sum of the squares of a tensor, without an array of squares in memory."""
    if IS_TENSORFLOW:
        return 2.0 * tf.nn.l2_loss(tensor)
    return jnp.sum(jnp.square(tensor))  # XLA fuses this into one loop


def has_native_momentum(gradient: Tensor) -> bool:
    """Return whether ``native_momentum`` accepts this gradient: a dense tensor of TensorFlow."""
    return IS_TENSORFLOW and isinstance(gradient, tf.Tensor)


def native_momentum(
    variable: Any, velocity: Any, gradient: Tensor, learning_rate: Tensor, momentum: float
) -> None:
    """Do a step of SGD with momentum in one pass over the weights.

    velocity = momentum · velocity - learning_rate · gradient; variable = variable + velocity.

    Args:
        variable, velocity: ``tf.Variable``s, both changed.
        gradient: tensor of their shape.
        learning_rate, momentum: scalars.
    """
    tf.raw_ops.ResourceApplyKerasMomentum(
        var=variable.handle,
        accum=velocity.handle,
        lr=tf.cast(learning_rate, variable.dtype),
        grad=gradient,
        momentum=tf.cast(momentum, variable.dtype),
    )
