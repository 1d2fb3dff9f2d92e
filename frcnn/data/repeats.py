"""Repeat-factor sampling: images with rare classes come several times in an epoch.

Gupta et al. 2019 ("LVIS"), section 4.1 and appendix: a class that a share f of the images has gets the
factor ``max(1, sqrt(threshold / f))``. An image gets the largest factor of its classes. An image with
factor 2.3 comes twice in every epoch, and a third time in 30 % of the epochs. Here every epoch has the
same number of images, the rounded sum of the factors, so that all epochs have the same number of steps.
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

    This is systematic sampling. Each image is an interval as long as its factor. The intervals lie side
    by side in random order. Marks at a distance of 1, with a random start, select the images. So the
    number of times that an image comes is its factor, rounded up or down, and its mean is the factor.
    The total is fixed.

    Args:
        factors: (N,) from ``repeat_factors``.
        rng: random generator.

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
    """Return (M,) ints: how often each image has come before in ``order``, 0 the first time.

    Args:
        order: (M,) indices of images.
    """
    by_image = np.argsort(order, kind="stable")
    ranks = np.arange(len(order))
    _, starts, counts = np.unique(order[by_image], return_index=True, return_counts=True)
    found = np.empty(len(order), int)
    found[by_image] = ranks - np.repeat(starts, counts)
    return found
