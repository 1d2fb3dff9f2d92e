"""An image and its boxes from the file to the network input.

Letters: H, W pixels, G boxes.
"""

import cv2
import numpy as np

from frcnn.errors import DataError

# What fills the padding: ImageNet's mean colour, which every preprocessing turns into about 0, so that
# the image's border is not an edge to learn.
PADDING_RGB = (124, 116, 104)


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


def scale_for(width, height, short_side, long_side):
    """Return what to multiply a size by: to ``short_side``, but no further than ``long_side``."""
    return min(short_side / min(width, height), long_side / max(width, height))


def resize(image, boxes, short_side, long_side):
    """Return image and boxes scaled as Ren et al. 2015, section 3.3, keeping the aspect ratio.

    Args:
        image: (H, W, 3) uint8.
        boxes: (G, 4) float32 pixels of ``image``.
        short_side: wanted length of the shorter side, pixels.
        long_side: the longer side's limit, pixels.
    """
    height, width = image.shape[:2]
    scale = scale_for(width, height, short_side, long_side)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
    # Rounding stretches the two axes a little differently.
    stretch = np.array([size[0] / width, size[1] / height] * 2, "float32")
    return resized, boxes * stretch


def flip(image, boxes):
    """Return image and boxes mirrored left to right."""
    width = image.shape[1]
    mirrored = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return np.ascontiguousarray(image[:, ::-1]), mirrored


def pad(images, multiple):
    """Return (B, H, W, 3) uint8: images of any sizes at the top left of one common size.

    Args:
        images: list of (h, w, 3) uint8.
        multiple: H and W are multiples of this, so that strided layers divide them evenly.
    """
    height = -(-max(image.shape[0] for image in images) // multiple) * multiple
    width = -(-max(image.shape[1] for image in images) // multiple) * multiple
    padded = np.empty((len(images), height, width, 3), "uint8")
    padded[:] = PADDING_RGB
    for row, image in zip(padded, images):
        row[: image.shape[0], : image.shape[1]] = image
    return padded
