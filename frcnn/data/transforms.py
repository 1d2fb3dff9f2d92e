"""An image and its boxes from the file to the network input.

Letters: H, W pixels, G boxes.
"""

import io
import math

import cv2
import numpy as np
from PIL import Image

from frcnn.data import image_io
from frcnn.errors import DataError
from frcnn.files import untrusted

# What fills the padding: ImageNet's mean colour, which every preprocessing turns into about 0, so that
# the image's border is not an edge to learn.
PADDING_RGB = (123.675, 116.28, 103.53)


def load(path):
    """Return the (H, W, 3) uint8 RGB image in a file, upright.

    Grey becomes RGB, 16 bits a channel become their upper 8, a palette and CMYK become their colours,
    and transparency is dropped.

    Raises:
        DataError: the file is missing, damaged or too large; it is named.
    """
    try:
        content = untrusted.read_bytes(path, untrusted.MAX_IMAGE_BYTES)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from error
    try:
        header = image_io.read_header(io.BytesIO(content))
    except DataError as error:
        raise DataError(f"the image {path} {error}") from error
    image = _by_pillow(content) if _is_rare(header) else _by_opencv(content)
    if image is None or image.shape[1::-1] != header.stored:
        raise DataError(f"the image {path} cannot be decoded: it is damaged, or of a rare kind")
    return image_io.turn(image, header.orientation)


def _is_rare(header):
    """Say whether OpenCV, the faster decoder, would give other pixels than Pillow.

    OpenCV multiplies a TIFF's colours by their transparency, and rounds CMYK in another way.
    """
    return header.kind == "TIFF" or header.mode == "CMYK"


def _by_opencv(content):
    """Return the (H, W, 3) uint8 RGB image in a file's bytes as stored, or None."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _by_pillow(content):
    """As ``_by_opencv``.

    None also for levels of 32 bits, whose range nobody knows, and for 16 bits with 0 for white.
    """
    try:
        with Image.open(io.BytesIO(content), formats=image_io.FORMATS) as image:
            if image.mode in ("I", "F") or image.mode == "I;16" and image.tag_v2.get(262) == 0:
                return None
            if image.mode.startswith("I;16"):
                # Pillow's own conversion cuts levels off at 255. The order of bytes is left to numpy.
                levels = np.asarray(image) >> 8
                return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)
            return np.array(image.convert("RGB"))
    except Exception:  # whatever a damaged file makes Pillow's readers raise
        return None


def resized_size(width, height, config):
    """Return the (width, height) that ``resize`` makes of an image's, pixels, and by which factor."""
    scale = min(config.short_side / min(width, height), config.long_side / max(width, height))
    to_whole = math.floor if config.size_rounding == "down" else round
    return (max(1, to_whole(width * scale)), max(1, to_whole(height * scale))), scale


def resize(image, boxes, config):
    """Return image and boxes scaled as Ren et al. 2015, section 3.3, keeping the aspect ratio.

    Args:
        image: (H, W, 3) uint8 or float32, 0 to 255.
        boxes: (G, 4) float32 pixels of ``image``.
        config: ``DataConfig``: the shorter side becomes ``short_side`` pixels, unless that took the
            longer one over ``long_side``.

    Returns:
        (h, w, 3) image, uint8 or, without ``uint8_images``, float32; (G, 4) boxes in its pixels.
    """
    height, width = image.shape[:2]
    size, scale = resized_size(width, height, config)
    if not config.uint8_images:
        image = image.astype("float32")
    smooth = config.interpolation == "area" and scale < 1.0
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if smooth else cv2.INTER_LINEAR)
    # Rounding stretches the two axes a little differently.
    stretch = np.array([size[0] / width, size[1] / height] * 2, "float32")
    return resized, boxes * stretch


def flip(image, boxes):
    """Return image and boxes mirrored left to right."""
    width = image.shape[1]
    mirrored = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return cv2.flip(image, 1), mirrored


def pad(images, multiple, sizes=()):
    """Return (B, H, W, 3) images of any sizes at the top left of one common size, in their dtype.

    Args:
        images: list of (h, w, 3) uint8 or float32.
        multiple: H and W are multiples of this, so that strided layers divide them evenly.
        sizes: (height, width) of further images that should fit as well.
    """
    sizes = [*sizes, *(image.shape[:2] for image in images)]
    height, width = (-(-max(sides) // multiple) * multiple for sides in zip(*sizes))
    dtype = images[0].dtype
    padded = np.empty((len(images), height, width, 3), dtype)
    colour = np.rint(PADDING_RGB) if dtype == np.uint8 else np.array(PADDING_RGB)
    for row, image in zip(padded, images):
        if not image.size:  # which OpenCV does not take
            row[:] = colour
            continue
        below, right = height - image.shape[0], width - image.shape[1]
        # Writes each pixel once; numpy takes ten times as long to repeat three numbers.
        cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT, row, colour.tolist())
    return padded
