"""Where every random number of a run comes from: its seed, what it is for, and which step it belongs to.

Nothing is drawn from a generator that lives on from step to step, so a run that goes on after an
interruption, or that is divided among workers, meets the same chance without keeping any state. Initial
weights and dropout alone are drawn by Keras.
"""

import numpy as np

# What chance is for. Each purpose has streams of its own: seeded with plain numbers, those of (1,) and
# (1, 0) would be the same.
ORDER, IMAGES, ROIS, VALIDATION_ROIS = range(4)


def generator(seed, purpose, *place):
    """Return the ``numpy.random.Generator`` of one place in a run.

    Args:
        seed: the run's.
        purpose: one of those above.
        place: whole numbers that say where: a step, or an epoch and a batch.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *place)))
