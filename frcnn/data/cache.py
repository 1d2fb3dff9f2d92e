"""Resized images kept in memory, so that later epochs need not decode their files again.

Decided here: what is kept stays. An epoch comes by every image once, in another order each time, so the
share of images kept is the share of hits whichever they are, and a cache that drops the least recently
used would drop most images just before their turn.
"""

import threading


class ImageCache:
    """Images and boxes of samples as ``augment.resize`` made them, up to a bound. Threads may share it.

    Args:
        mib: bound of what the arrays take, MiB; 0: nothing is kept.

    Attributes:
        size: bytes that the arrays kept take.
        refused: whether something was not kept, for want of room.
    """

    def __init__(self, mib):
        self.limit = mib * 2**20
        self.size = 0
        self.refused = False
        self._kept = {}  # samples are keys by identity: the same file may be listed twice
        self._lock = threading.Lock()

    def __len__(self):
        return len(self._kept)

    def get(self, sample, make):
        """Return the image and the boxes of a sample: those kept, or else what ``make()`` returns.

        They are not to be written to; what is kept cannot be.
        """
        found = self._kept.get(sample)
        if found is not None or not self.limit:
            return found or make()
        image, boxes = made = make()  # outside the lock, so that others need not wait
        needed = image.nbytes + boxes.nbytes
        with self._lock:
            if sample in self._kept:
                return made
            if self.size + needed > self.limit:
                self.refused = True
                return made
            self.size += needed
            image.flags.writeable = boxes.flags.writeable = False
            self._kept[sample] = made
        return made

    def summary(self):
        """Return one line: images kept, and the memory they take."""
        full = ", full" if self.refused else ""
        return (
            f"cache: {len(self)} images, {self.size / 2**20:.1f} of {self.limit / 2**20:.0f} MiB{full}"
        )
