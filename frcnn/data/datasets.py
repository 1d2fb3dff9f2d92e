"""From ``DataConfig`` to the training and validation splits."""

import pathlib

from frcnn.data import shapes, voc
from frcnn.data.faults import settle


def load(config, seed=0):
    """Return the (training, validation) ``Dataset`` that a ``DataConfig`` names.

    Both have the same classes: those in the config, else those that the training split brings.

    Args:
        config: ``DataConfig``.
        seed: that ``shapes`` are drawn from, when they are not there yet.

    Raises:
        DataError: no such data, or faults in it: those of both splits at once.
    """
    train, faults = collect_split(config, config.train_split, config.classes, seed)
    classes = train.classes
    if faults and config.on_bad_data == "error":
        # An image with a fault may hold a class that no other has; that is no fault of the other split.
        classes = config.classes
    val = collect_split(config, config.val_split, classes, seed)
    return tuple(settle([(train, faults), val], config.on_bad_data))


def load_split(config, split, classes=(), seed=0):
    """Return the ``Dataset`` of one split, its faults settled.

    Args:
        config, split, classes, seed: as for ``collect_split``.

    Raises:
        DataError: no such data, or faults in it.
    """
    return settle([collect_split(config, split, classes, seed)], config.on_bad_data)[0]


def collect_split(config, split, classes=(), seed=0):
    """Return the ``Dataset`` of one split without its faulty images, and the list of its ``Fault``.

    Args:
        config: ``DataConfig``.
        split: its name.
        classes: names in the order of the labels; empty: those that the split brings.
        seed: as for ``load``.

    Raises:
        DataError: no such data.
    """
    root, year = pathlib.Path(config.dir), config.year or None
    if config.dataset == "shapes":
        root = root / "shapes"
        shapes.ensure(root, seed=seed)
    return voc.collect(root, split, year, classes or None)
