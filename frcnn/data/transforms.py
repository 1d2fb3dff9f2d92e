"""Load, resize, flip and pad an image and its boxes.

B: images per batch, H x W: pixels, G: boxes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from frcnn.config.schema import DataConfig
from frcnn.data import image_io, oriented
from frcnn.errors import DataError
from frcnn.files import untrusted

# Colour of the padding: ImageNet's mean. After the preprocessing of most backbones it is about 0, as in
# the zero padding of convolutions.
PADDING_RGB = (123.675, 116.28, 103.53)


def load(path: Path | str, half: bool = False) -> np.ndarray:
    """Load an image file as (H, W, 3) uint8 RGB, upright.

    Grey, palette and CMYK images are converted to RGB. With 16 bits per channel, the upper 8 bits are
    kept. Transparency is dropped.

    Args:
        path: of the file.
        half: decode a JPEG to half its width and height, rounded up, which takes about half the time.
            Other kinds of files come whole.

    Raises:
        DataError: the file is missing, damaged or too large; the message names it.

    Example:
        >>> image = load("JPEGImages/000001.jpg")  # doctest: +SKIP
    """
    try:
        content = untrusted.read_bytes(path, untrusted.MAX_IMAGE_BYTES)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from error
    try:
        header = image_io.read_header(io.BytesIO(content))
    except DataError as error:
        raise DataError(f"the image {path} {error}") from error
    half = half and header.kind == "JPEG"
    if _needs_pillow(header):
        half, image = False, _decode_with_pillow(content)
    else:
        image = _decode_with_opencv(content, half)
    size = tuple(-(-side // 2) for side in header.stored) if half else header.stored
    if image is None or image.shape[1::-1] != size:
        raise DataError(f"the image {path} cannot be decoded: it is damaged, or of a rare kind")
    return image_io.turn(image, header.orientation)


def _needs_pillow(header: image_io.Header) -> bool:
    """Return whether OpenCV, the faster decoder, would give other pixels than Pillow.

    OpenCV multiplies a TIFF's colours by their transparency, and rounds CMYK in another way.
    """
    return header.kind == "TIFF" or header.mode == "CMYK"


def _decode_with_opencv(content: bytes, half: bool = False) -> np.ndarray | None:
    """Decode a file's bytes to (H, W, 3) uint8 RGB as stored; None if that fails."""
    flags = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    flags |= cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decode_with_pillow(content: bytes) -> np.ndarray | None:
    """Decode a file's bytes, as ``_decode_with_opencv``.

    It also returns None for 32 bits per channel, whose range is unknown, and for 16 bits with 0 for
    white.
    """
    try:
        with Image.open(io.BytesIO(content), formats=image_io.FORMATS) as image:
            tags: Any = image.tag_v2 if isinstance(image, TiffImageFile) else {}
            if image.mode in ("I", "F") or image.mode == "I;16" and tags.get(262) == 0:
                return None
            if image.mode.startswith("I;16"):
                # Pillow's own conversion clips levels to 255. Numpy handles the byte order.
                levels = np.asarray(image) >> 8
                return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)
            return np.array(image.convert("RGB"))
    except Exception:  # Pillow raises many kinds of errors for damaged files
        return None


def resized_size(width: int, height: int, config: DataConfig) -> tuple[tuple[int, int], float]:
    """Return the (width, height) of an image after ``resize``, pixels, and the factor of scaling."""
    scale = min(config.short_side / min(width, height), config.long_side / max(width, height))
    to_whole = math.floor if config.size_rounding == "down" else round
    return (max(1, to_whole(width * scale)), max(1, to_whole(height * scale))), scale


def resize(
    image: np.ndarray, boxes: np.ndarray, config: DataConfig, whole: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image and its boxes, keeping the aspect ratio (Ren et al. 2015, section 3.3).

    Args:
        image: (H, W, 3) uint8 or float32, 0 to 255.
        boxes: (G, 4) float32, pixels of the whole image; or (G, 5) oriented ones.
        config: the shorter side becomes ``short_side`` pixels, or less if the longer side would exceed
            ``long_side``.
        whole: (width, height) of the whole image, of which ``image`` may be a smaller copy; None: its
            own.

    Returns:
        image: (h, w, 3), float32, or uint8 with ``uint8_images``.
        boxes: in pixels of that image.
    """
    width, height = whole or (image.shape[1], image.shape[0])
    size, scale = resized_size(width, height, config)
    return resize_to(image, boxes, size, config, scale < 1.0, whole)


def resize_to(
    image: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
    config: DataConfig,
    shrinks: bool | None = None,
    whole: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image and its boxes to a given size.

    Args:
        image, boxes, config: as for ``resize``.
        size: (width, height), pixels.
        shrinks: whether the image becomes smaller, which decides the interpolation; None: whether both
            sides become smaller.

    Returns:
        As ``resize``.
    """
    width, height = whole or (image.shape[1], image.shape[0])
    if shrinks is None:
        shrinks = size[0] < width and size[1] < height
    if not config.uint8_images:
        image = image.astype("float32")
    smooth = config.interpolation == "area" and shrinks
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_LINEAR)
    # The sides are rounded to whole pixels, so the factors of the two axes differ a little.
    factors = np.array([size[0] / width, size[1] / height], "float32")
    return resized, oriented.stretch(boxes, factors)


def flip(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an (H, W, 3) image and its boxes, (G, 4) or (G, 5), left to right."""
    return cv2.flip(image, 1), oriented.flip(boxes, image.shape[1])


def pad(
    images: Sequence[np.ndarray], multiple: int, sizes: Sequence[tuple[int, int]] = ()
) -> np.ndarray:
    """Pad images of any sizes at the right and the bottom, and stack them.

    Args:
        images: images (h, w, 3), uint8 or float32.
        multiple: H and W become multiples of this, so that strided layers divide them evenly.
        sizes: (height, width) of more images that must fit into H and W.

    Returns:
        (B, H, W, 3) in the dtype of the images.
    """
    sizes = [*sizes, *(image.shape[:2] for image in images)]
    height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes))
    dtype = images[0].dtype
    padded = np.empty((len(images), height, width, 3), dtype)
    colour = np.rint(PADDING_RGB) if dtype == np.uint8 else np.array(PADDING_RGB)
    for row, image in zip(padded, images):
        if not image.size:  # OpenCV rejects it
            row[:] = colour
            continue
        below, right = height - image.shape[0], width - image.shape[1]
        # It writes each pixel once. numpy would take ten times as long to fill the array.
        cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, row, colour.tolist())
    return padded
