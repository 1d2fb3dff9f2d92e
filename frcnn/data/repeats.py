"""Repeat-factor sampling: images with rare classes come several times in an epoch.

Gupta et al. 2019 ("LVIS"), section 4.1 and appendix: a class in a share f of the images has the factor
``max(1, sqrt(threshold / f))``; an image has the largest factor of its classes. A factor of 2.3 is two
times in every epoch and a third time in 30 % of them. Here the number of images per epoch is always the
same, so that a run has the same number of steps in every epoch: the sum of the factors is rounded.
"""

from __future__ import annotations

import numpy as np

from frcnn.data.sample import Dataset


def repeat_factors(dataset: Dataset, threshold: float) -> np.ndarray:
    """Return the (N,) factor of each image, 1 or more.

    Args:
        dataset: images and boxes; difficult boxes do not count.
        threshold: a class in fewer images than this share of all is rare.
    """
    present = np.zeros((len(dataset), len(dataset.classes)), bool)
    for row, sample in zip(present, dataset.samples):
        row[sample.labels[~sample.difficult]] = True
    shares = np.maximum(present.mean(axis=0), 1e-12)
    of_class = np.maximum(1.0, np.sqrt(threshold / shares))
    return np.where(present, of_class, 1.0).max(axis=1, initial=1.0)


def images_per_epoch(factors: np.ndarray) -> int:
    """Return the number of images of an epoch, repetitions included."""
    return round(float(factors.sum()))


def repeated(factors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the images of an epoch in random order.

    Systematic sampling: the factors, as lengths, lie side by side in random order, and marks a distance
    of 1 apart, from a random start, pick the images. So each image comes its factor times on average,
    rounded up or down, and the total is fixed.

    Args:
        factors: (N,) of ``repeat_factors``.
        rng: generator of the draws.

    Returns:
        (M,) indices of images; M is ``images_per_epoch(factors)``.
    """
    total = images_per_epoch(factors)
    order = rng.permutation(len(factors))
    ends = np.cumsum(factors[order]) * (total / factors.sum())
    marks = np.minimum(np.arange(total) + rng.random(), ends[-1])
    picked = order[np.minimum(np.searchsorted(ends, marks, side="right"), len(order) - 1)]
    return rng.permutation(picked)


def repetitions(order: np.ndarray) -> np.ndarray:
    """Return (M,) how often each image of an order has come before in it: 0 the first time."""
    by_image = np.argsort(order, kind="stable")
    ranks = np.arange(len(order))
    _, starts, counts = np.unique(order[by_image], return_index=True, return_counts=True)
    found = np.empty(len(order), int)
    found[by_image] = ranks - np.repeat(starts, counts)
    return found
