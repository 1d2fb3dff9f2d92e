"""Resizing inside an exported graph, as ``frcnn.data.transforms`` does it outside.

Both of OpenCV's methods, area and bilinear interpolation, are weighted sums along each side. So an image
is resized by two matrix products, which all formats have. Rows of zeros make the padding.
"""

from __future__ import annotations

import tensorflow as tf

from frcnn.config.schema import DataConfig
from frcnn.data import transforms

# Added before rounding. A sum of exactly one half would go up or down by its last bit, in each runtime
# otherwise. Sums are multiples of one part in hundreds, or so dense that few lie at one half.
HALF_UP = 3e-4


def fitted_size(
    width: int, height: int, config: DataConfig, room: tuple[int, int] | None
) -> tuple[tuple[int, int], bool]:
    """Return the (width, height) of a resized image, pixels, and whether it is smaller. In Python.

    Args:
        width, height: width and height of the image, pixels.
        config: as for ``transforms.resized_size``.
        room: height and width of the network input, into which the image must fit; None: any.
    """
    size, scale = transforms.resized_size(width, height, config)
    if room is None or (size[0] <= room[1] and size[1] <= room[0]):
        return size, scale < 1.0
    scale = min(room[0] / height, room[1] / width)
    fitted = (min(room[1], round(width * scale)), min(room[0], round(height * scale)))
    return (max(1, fitted[0]), max(1, fitted[1])), scale < 1.0


def resize(
    images: tf.Tensor,
    config: DataConfig,
    multiple: int,
    room: tuple[int, int] | None,
    precise: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize and pad images of one size, as ``fitted_size`` says.

    Args:
        images: (B, h, w, 3), 0 to 255.
        config: sides, interpolation and rounding.
        multiple: without ``room``, H and W become multiples of this, pixels.
        room: H and W; None: H and W depend on the images.
        precise: whether sides are computed in float64, as Python does. In float32 a side that lies
            between two whole numbers may be rounded to the other one.

    Returns:
        (B, H, W, 3) float32 network inputs, and their (2,) height and width without padding.
    """
    sides = tf.shape(images)[1:3]
    new, shrinks = _new_sides(tf.cast(sides, tf.float64 if precise else tf.float32), config, room)
    rows, columns = room or tf.unstack(-(-new // multiple) * multiple)
    smooth = tf.logical_and(shrinks, config.interpolation == "area")
    vertical = _weights(sides[0], new[0], rows, smooth)
    horizontal = _weights(sides[1], new[1], columns, smooth)
    batch = tf.shape(images)[0]
    pixels = tf.transpose(tf.cast(images, tf.float32), (1, 2, 0, 3))  # (h, w, B, 3)
    pixels = tf.matmul(vertical, tf.reshape(pixels, (sides[0], -1)))  # (H, w·B·3)
    pixels = tf.transpose(tf.reshape(pixels, (rows, sides[1], -1)), (1, 0, 2))  # (w, H, B·3)
    pixels = tf.matmul(horizontal, tf.reshape(pixels, (sides[1], -1)))  # (W, H·B·3)
    pixels = tf.transpose(tf.reshape(pixels, (columns, rows, batch, 3)), (2, 1, 0, 3))
    if config.uint8_images:
        pixels = tf.clip_by_value(tf.round(pixels + HALF_UP), 0.0, 255.0)
    colour = [float(round(part)) if config.uint8_images else part for part in transforms.PADDING_RGB]
    is_row, is_column = tf.range(rows) < new[0], tf.range(columns) < new[1]
    inside = tf.logical_and(is_row[:, None], is_column[None, :])[None, :, :, None]
    pixels = tf.where(inside, pixels, tf.constant(colour, tf.float32))
    if room:
        pixels.set_shape((images.shape[0], *room, 3))
    return pixels, tf.cast(new, tf.float32)


def unscaled(boxes: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Return boxes of a resized image in pixels of the image.

    Args:
        boxes: (B, M, 4), or (B, M, 5) oriented ones, which change as by ``oriented.stretch``.
        factors: (2,) by which x and y were multiplied.
    """
    if boxes.shape[-1] == 4:
        return boxes / tf.tile(factors, (2,))
    cos, sin = tf.cos(boxes[..., 4]), tf.sin(boxes[..., 4])
    along_x, along_y = cos / factors[0], sin / factors[1]
    across_x, across_y = sin / factors[0], cos / factors[1]
    width = boxes[..., 2] * tf.sqrt(along_x**2 + along_y**2)
    height = boxes[..., 3] * tf.sqrt(across_x**2 + across_y**2)
    angle = tf.atan2(along_y, along_x)
    rest = tf.stack([width, height, angle], axis=-1)
    return tf.concat([boxes[..., :2] / factors, rest], axis=-1)


def _new_sides(sides, config, room):
    """Return (2,) int32 height and width of resized images, and whether they shrink."""
    scale = tf.minimum(config.short_side / tf.reduce_min(sides), config.long_side / tf.reduce_max(sides))
    to_whole = tf.floor if config.size_rounding == "down" else tf.round
    new = tf.cast(tf.maximum(to_whole(sides * scale), 1.0), tf.int32)
    if room is None:
        return new, scale < 1.0
    limit = tf.reduce_min(tf.constant(room, sides.dtype) / sides)
    fitted = tf.cast(tf.maximum(tf.round(sides * limit), 1.0), tf.int32)
    too_large = tf.reduce_any(new > tf.constant(room))
    new = tf.where(too_large, tf.minimum(fitted, tf.constant(room)), new)
    return new, tf.where(too_large, limit, scale) < 1.0


def _weights(source, target, length, smooth):
    """Return the share of each source pixel in each pixel along one side.

    Args:
        source: pixels before.
        target: pixels after.
        length: pixels with padding.
        smooth: whether a pixel is the mean of the area that it covers. If not, it is interpolated from
            the pixels around it.

    Returns:
        (length, source) float32; rows from ``target`` on are 0.
    """
    step = tf.cast(source, tf.float32) / tf.cast(target, tf.float32)
    row = tf.cast(tf.range(length), tf.float32)[:, None]
    pixel = tf.cast(tf.range(source), tf.float32)[None, :]
    overlap = tf.minimum((row + 1.0) * step, pixel + 1.0) - tf.maximum(row * step, pixel)
    area = tf.maximum(overlap, 0.0) / step
    last = tf.cast(source - 1, tf.float32)
    centre = tf.minimum(tf.maximum((row + 0.5) * step - 0.5, 0.0), last)
    linear = tf.maximum(1.0 - tf.abs(centre - pixel), 0.0)
    exists = row < tf.cast(target, tf.float32)
    return tf.where(exists, tf.where(smooth, area, linear), 0.0)
