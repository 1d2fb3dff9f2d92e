"""Splits that are made from the images' file names, where a data set has none.

The hash of its file name gives each image a number from 0 to 1. The images whose number is below a
split's share are in the split, so that new images move no other one. In a small set chance could put
most images, or none, into a split: there the images with the smallest numbers are taken, as many as is
near the share.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence


def hash_share(name: str) -> float:
    """Return a number from 0 to 1 that an image's file name gives, as good as at random.

    The file name alone decides, and copies that an export augmented (Roboflow's ``NAME.rf.HASH.jpg``)
    have the same number.
    """
    name = os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0].partition(".rf.")[0]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def divide(names: Sequence[str], shares: Mapping[str, float], rest: str = "train") -> list[str]:
    """Return the split of each image.

    A split gets between half and one and a half times its share of the images, and at least one image;
    one remains for the ``rest``. Images of one number stay together, unless a split would be empty.

    Args:
        names: file names, or paths, of the images.
        shares: {split: its share of the images, 0 to 1}; they add up to less than 1.
        rest: the split of all other images.

    Example:
        >>> divide(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], {"val": 0.25})
        ['train', 'train', 'train', 'val']
    """
    numbers = list(map(hash_share, names))
    order = sorted(range(len(names)), key=lambda index: (numbers[index], names[index], index))
    found = [rest] * len(names)
    start, top = 0, 0.0
    for split, share in shares.items():
        top += share
        most = len(names) - 1 - start
        wished = round(share * len(names), 6)
        low, high = max(1, math.floor(wished / 2)), max(1, math.ceil(1.5 * wished))
        below = sum(numbers[index] < top for index in order[start:])
        end = start + max(0, min(max(below, low), high, most))
        if end > start:
            end = _between_groups([numbers[index] for index in order], start, end)
        for index in order[start:end]:
            found[index] = split
        start = end
    return found


def _between_groups(numbers: Sequence[float], start: int, end: int) -> int:
    """Return the place next to ``end`` between images of different numbers; ``end`` if there is none.

    Args:
        numbers: of the images, in order.
        start: the first image of the split: the place lies behind it, and before the last image.
        end: where the split would end.
    """
    places = [at for at in range(start + 1, len(numbers)) if numbers[at - 1] != numbers[at]]
    return min(places, key=lambda at: abs(at - end), default=end)
