"""An image and its boxes from the file to the network input.

Letters: H, W pixels, G boxes.
"""

import math

import cv2
import numpy as np

from frcnn.errors import DataError

# What fills the padding: ImageNet's mean colour, which every preprocessing turns into about 0, so that
# the image's border is not an edge to learn.
PADDING_RGB = (123.675, 116.28, 103.53)


def load(path):
    """Return the (H, W, 3) uint8 RGB image in a file, in the orientation of its stored pixels.

    Boxes refer to stored pixels, so an EXIF rotation is not applied.

    Raises:
        DataError: the file is missing or cannot be decoded.
    """
    image = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"cannot decode the image {path}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def resize(image, boxes, config):
    """Return image and boxes scaled as Ren et al. 2015, section 3.3, keeping the aspect ratio.

    Args:
        image: (H, W, 3) uint8 or float32, 0 to 255.
        boxes: (G, 4) float32 pixels of ``image``.
        config: ``DataConfig``: the shorter side becomes ``short_side`` pixels, unless that took the
            longer one over ``long_side``.

    Returns:
        (h, w, 3) image, uint8 or, without ``whole_levels``, float32; (G, 4) boxes in its pixels.
    """
    height, width = image.shape[:2]
    scale = min(config.short_side / min(width, height), config.long_side / max(width, height))
    to_whole = math.floor if config.size_rounding == "down" else round
    size = max(1, to_whole(width * scale)), max(1, to_whole(height * scale))
    if not config.whole_levels:
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
    return np.ascontiguousarray(image[:, ::-1]), mirrored


def pad(images, multiple):
    """Return (B, H, W, 3) images of any sizes at the top left of one common size, in their dtype.

    Args:
        images: list of (h, w, 3) uint8 or float32.
        multiple: H and W are multiples of this, so that strided layers divide them evenly.
    """
    height = -(-max(image.shape[0] for image in images) // multiple) * multiple
    width = -(-max(image.shape[1] for image in images) // multiple) * multiple
    dtype = images[0].dtype
    padded = np.empty((len(images), height, width, 3), dtype)
    padded[:] = np.rint(PADDING_RGB) if dtype == np.uint8 else PADDING_RGB
    for row, image in zip(padded, images):
        row[: image.shape[0], : image.shape[1]] = image
    return padded
