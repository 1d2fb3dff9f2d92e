"""Random generators of a run, each made from the seed, a purpose and a position in the run.

No generator is kept from one step to the next. So a run that is resumed, or divided among processes,
draws the same numbers without saving any state. Only initial weights and dropout are drawn by Keras.
"""

from __future__ import annotations

import numpy as np

# Purposes. Each has its own streams, by a spawn key: as seeds, (1,) and (1, 0) would be the same.
ORDER, IMAGES, ROIS, VALIDATION_ROIS, AUGMENTATION = range(5)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """Return the generator for one purpose at one position of a run.

    Args:
        seed: the run's seed.
        purpose: one of the constants of this module.
        position: numbers that identify the position, such as the step, or the epoch and the image.

    Example:
        >>> generator(0, ORDER, 3).integers(100) == generator(0, ORDER, 3).integers(100)
        True
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *position)))
