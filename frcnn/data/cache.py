"""Resized images kept in memory, so that later epochs need not decode their files again.

Images in the cache stay there. An epoch uses each image once, in random order, so the share of hits is
the share of images in the cache, and it does not matter which images these are. A cache that drops the
least recently used image would drop most images just before they are used again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from frcnn.data.sample import Sample


class ImageCache:
    """Keeps images and boxes of samples, resized or in the size of the file. Threads may share it.

    Args:
        mib: most memory of all arrays, MiB; 0: nothing is kept.

    Attributes:
        size: memory of the arrays, bytes.
        refused: whether an image was not kept because the cache was full.
    """

    def __init__(self, mib: int):
        self.limit = mib * 2**20
        self.size = 0
        self.refused = False
        # By sample, not by file: the same file may be listed twice.
        self._kept: dict[tuple[Sample, bool], tuple[np.ndarray, np.ndarray]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of images kept."""
        return len(self._kept)

    def get(
        self,
        sample: Sample,
        make: Callable[[], tuple[np.ndarray, np.ndarray]],
        resized: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the image and the boxes of a sample, from the cache or from ``make()``.

        The caller must not write to the arrays. Those in the cache are read-only.

        Args:
            sample: the sample.
            make: function that returns image and boxes, if they are not in the cache.
            resized: whether they are resized, or in the size of the file.
        """
        key = sample, resized
        found = self._kept.get(key)
        if found is not None or not self.limit:
            return found or make()
        image, boxes = made = make()  # outside the lock: other threads need not wait
        needed = image.nbytes + boxes.nbytes
        with self._lock:
            if key in self._kept:
                return made
            if self.size + needed > self.limit:
                self.refused = True
                return made
            self.size += needed
            image.flags.writeable = boxes.flags.writeable = False
            self._kept[key] = made
        return made

    def summary(self) -> str:
        """Return one line: number of images kept, and their memory."""
        full = ", full" if self.refused else ""
        return (
            f"cache: {len(self)} images, {self.size / 2**20:.1f} of {self.limit / 2**20:.0f} MiB{full}"
        )
