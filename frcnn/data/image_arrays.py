"""Converts images from Python code (arrays, Pillow images, paths) to arrays of RGB from 0 to 255.

The type and the range of an array show what its values mean. If they do not, it is an error, because
with a wrong range there would be no detections and no message.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from frcnn.data import transforms
from frcnn.errors import DataError

WANTED = (
    "an (H, W, 3) array of RGB, (H, W) of grey or (H, W, 4) of RGBA with numbers from 0 to 255, a "
    "Pillow image or a path"
)
LEAST_16_BIT = 2**12  # uint16 values that are all below this are probably of 12 bits


def each(images: Any) -> Iterator[Any]:
    """Iterate over images one by one.

    Args:
        images: one image; a list, tuple, iterator or generator of images; or a (B, H, W, 3) array.
    """
    single = isinstance(images, (str, bytes, os.PathLike, Image.Image)) or not isinstance(
        images, Iterable
    )
    if not single and hasattr(images, "shape"):
        pixels = np.asarray(images)
        if pixels.ndim == 4:
            return iter(_scaled(pixels, "the batch"))
        single = True
    return iter([images] if single else images)


def to_rgb(image: Any, number: int = 0) -> np.ndarray:
    """Return any kind of image as an (H, W, 3) array of RGB, uint8 or float32 from 0 to 255.

    Args:
        image: an array (H, W, 3) of RGB, (H, W) or (H, W, 1) of grey, or (H, W, 4) of RGBA, whose
            transparency is dropped; a Pillow image; or a path, whose image is rotated as its EXIF
            orientation says. Values are from 0 to 255; floats may be from 0 to 1, and uint16 from 0 to
            65535.
        number: number of the image, for messages.

    Raises:
        DataError: it is none of these, or the range of its values is not known.

    Example:
        >>> to_rgb(np.ones((4, 6), "float32")).max()
        np.float32(255.0)
    """
    if isinstance(image, (str, os.PathLike)):
        return transforms.load(os.fspath(image))
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F"):
            raise DataError(f"image {number} is a Pillow image of mode {image.mode}, of unknown range")
        if image.mode.startswith("I;16"):  # Pillow's own conversion cuts off at 255
            return np.repeat((np.asarray(image) >> 8).astype("uint8")[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        raise DataError(
            f"image {number} has the shape {pixels.shape}, channels first; expected (H, W, 3): "
            "image.transpose(1, 2, 0)"
        )
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4))
    if not is_image or 0 in pixels.shape or pixels.dtype.kind not in "uif":
        raise DataError(f"image {number} must be {WANTED}; it is {pixels.dtype} {pixels.shape}")
    pixels = _scaled(pixels, f"image {number}")
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        pixels = np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(pixels[..., :3])


def _scaled(pixels: np.ndarray, name: str) -> np.ndarray:
    """Return an array of any known range as uint8, or as float32 from 0 to 255.

    Raises:
        DataError: the numbers are not finite, or their range is not known.
    """
    if pixels.dtype == np.uint8 or not pixels.size or pixels.dtype.kind not in "uif":
        return pixels
    if not np.isfinite(pixels).all():
        raise DataError(f"{name} holds numbers that are not finite")
    low, high = pixels.min(), pixels.max()
    if pixels.dtype == np.uint16 and high >= LEAST_16_BIT:
        return (pixels >> 8).astype("uint8")  # as image files of 16 bits are read
    # An image from 0 to 255 with no value above 1 would be all black, so these floats are from 0 to 1.
    if pixels.dtype.kind == "f" and 0 <= low and high <= 1:
        return pixels.astype("float32") * 255
    if low < -0.5 or high > 255.5:  # resizing makes values slightly outside 0 to 255
        advice = {"uint16": ": of 12 bits, image / 16", "float": ": of -1 to 1, 127.5 * (image + 1)"}
        kind = "float" if pixels.dtype.kind == "f" and -1 <= low and high <= 1 else pixels.dtype.name
        raise DataError(
            f"{name} holds {pixels.dtype} numbers from {low:g} to {high:g}; 0 to 255 are wanted, floats "
            f"also from 0 to 1 and uint16 to 65535{advice.get(kind, '')}"
        )
    return pixels.astype("float32")
