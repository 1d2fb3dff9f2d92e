"""Makes splits from the images' file names, for a data set that has none.

Each image has a number from 0 to 1, the hash of its file name. The images whose number is below the
share of a split are in this split. So other images do not change their split when new images are added.
In a small data set, most images or none could be below the share. So each split has a least and a
largest number of images, and those with the smallest numbers are taken.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence


def hash_share(name: str) -> float:
    """Return a pseudo-random number from 0 to 1 that depends only on an image's file name.

    Augmented copies of an image in an export (Roboflow's ``NAME.rf.HASH.jpg``) have the same number.
    """
    name = os.path.splitext(name.replace("\\", "/").rpartition("/")[2])[0].partition(".rf.")[0]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def divide(names: Sequence[str], shares: Mapping[str, float], rest: str = "train") -> list[str]:
    """Return the split of each image.

    A split gets between half and one and a half times its share of the images, and at least one image.
    At least one image remains for ``rest``. Images with the same number stay together, unless a split
    would be empty.

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
    """Return the end of a split nearest to ``end`` at which images have different numbers.

    Args:
        numbers: numbers of the images, in order.
        start: index of the first image of the split.
        end: index after the last image of the split, as wished.

    Returns:
        The index, with at least one image before it in the split and one after it; ``end`` if there is
        none.
    """
    places = [at for at in range(start + 1, len(numbers)) if numbers[at - 1] != numbers[at]]
    return min(places, key=lambda at: abs(at - end), default=end)
