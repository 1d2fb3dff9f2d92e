"""Draw boxes with their class and score onto an image, to be looked at.

Lines and letters need pixels to be legible: their size follows the image's, and a small image is
first enlarged by a whole factor.
"""

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_LONG_SIDE = 600  # pixels; smaller images are enlarged to at least this
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


def draw(image, boxes, labels, scores, class_names):
    """Return a copy of an image with boxes drawn on it, the highest score on top.

    Args:
        image: (H, W, 3) array of RGB, 0 to 255, or a Pillow image.
        boxes: (G, 4) half-open pixels of the image.
        labels: (G,) int, indices into ``class_names``.
        scores: (G,) in [0, 1]; None for ground truth, which has none.
        class_names: sequence of str.

    Returns:
        A Pillow RGB image; its sides are a whole multiple of the image's, and the same where its
        long side has ``MIN_LONG_SIDE`` pixels or more.
    """
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    factor = math.ceil(MIN_LONG_SIDE / max(image.size))
    image = image.convert("RGB").resize([factor * side for side in image.size], Image.BICUBIC)
    line = max(2, round(max(image.size) / 400))
    font = ImageFont.load_default(max(14, max(image.size) / 50))
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    for index in order:
        text = class_names[labels[index]]
        if scores is not None:
            text = f"{text} {scores[index]:.2f}"
        _draw_box(image, factor * np.asarray(boxes[index]), text, colour(labels[index]), line, font)
    return image


def colour(label):
    """Return a class's colour, (red, green, blue), 0 to 255: the same in every image and run.

    Steps of the golden ratio around the colour circle keep any number of classes apart.
    """
    hue = (label * GOLDEN_RATIO) % 1.0
    value = 1.0 if label % 2 == 0 else 0.8
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.9, value))


def _draw_box(image, box, text, fill, line, font):
    """Draw one box, and its text on a plate above it, or inside where there is no room above."""
    canvas = ImageDraw.Draw(image)
    red, green, blue = fill
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140  # ITU-R BT.601 luma
    ink = (0, 0, 0) if bright else (255, 255, 255)

    x1, y1, x2, y2 = np.rint(box).astype(int).tolist()
    x2, y2 = max(x2 - 1, x1), max(y2 - 1, y1)  # Pillow's corners are inclusive
    # A rim in the ink keeps the box visible on a ground of its own colour.
    canvas.rectangle([x1 - 1, y1 - 1, x2 + 1, y2 + 1], outline=ink, width=line + 2)
    canvas.rectangle([x1, y1, x2, y2], outline=fill, width=line)

    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * line, bottom - top + 2 * line
    plate_x = max(0, min(x1, image.width - width))
    plate_y = y1 - height if y1 >= height else max(0, min(y1, image.height - height))
    canvas.rectangle([plate_x, plate_y, plate_x + width - 1, plate_y + height - 1], fill=fill)
    canvas.text((plate_x + line - left, plate_y + line - top), text, fill=ink, font=font)
