"""From ``DataConfig`` to the training and validation splits."""

import pathlib

from frcnn.data import shapes, voc


def load(config, seed=0):
    """Return the (training, validation) ``Dataset`` that a ``DataConfig`` names.

    Both have the same classes: those in the config, else those that the training split brings.

    Args:
        config: ``DataConfig``.
        seed: that ``shapes`` are drawn from, when they are not there yet.

    Raises:
        DataError: no such data, or faults in it.
    """
    train = load_split(config, config.train_split, config.classes, seed)
    return train, load_split(config, config.val_split, train.classes, seed)


def load_split(config, split, classes=(), seed=0):
    """Return the ``Dataset`` of one split.

    Args:
        config: ``DataConfig``.
        split: its name.
        classes: names in the order of the labels; empty: those that the split brings.
        seed: as for ``load``.

    Raises:
        DataError: no such data, or faults in it.
    """
    root, year = pathlib.Path(config.dir), config.year or None
    if config.dataset == "shapes":
        root = root / "shapes"
        shapes.ensure(root, seed=seed)
    return voc.read(root, split, year, classes or None, config.on_bad_data)
