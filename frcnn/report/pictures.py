"""Pictures of a page: small JPEGs inside it, within a budget for the whole page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable

import numpy as np
from PIL import Image

from frcnn.data import transforms
from frcnn.data.sample import Sample
from frcnn.errors import DataError

# Base64 makes four bytes of three: 13 MB of JPEG are 17.4 MB of a page of at most 20 MB.
BUDGET = 13_000_000  # bytes of all JPEGs
BYTES_PER_PIXEL = 0.22  # of a photograph as JPEG with QUALITY; few need more
MIN_SIDE, MAX_SIDE, QUALITY = 240, 960, 72


def long_side(count: int, budget: int = BUDGET) -> int:
    """Return the long side, in pixels, at which a number of pictures fits into the budget."""
    pixels = budget / max(count, 1) / BYTES_PER_PIXEL
    return int(np.clip(math.sqrt(pixels * 4 / 3), MIN_SIDE, MAX_SIDE))  # of 4:3


def embed(samples: Iterable[Sample], budget: int = BUDGET) -> list[str | None]:
    """Return each image as a JPEG in base64; None if the budget is used up or the file is unreadable.

    Args:
        samples: the images, the most important first.
        budget: bytes of all JPEGs together.
    """
    samples = list(samples)
    side, left = long_side(len(samples), budget), budget
    texts: list[str | None] = []
    for sample in samples:
        content = _jpeg(sample, side) if left > 0 else None
        left -= len(content or b"")
        texts.append(base64.b64encode(content).decode() if content and left >= 0 else None)
    return texts


def _jpeg(sample, side):
    try:
        pixels = sample.pixels if sample.pixels is not None else transforms.load(sample.path)
    except DataError:  # the file has gone since it was evaluated
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()
