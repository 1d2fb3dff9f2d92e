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
    root, year = pathlib.Path(config.dir), config.year or None
    if config.dataset == "shapes":
        root = root / "shapes"
        shapes.ensure(root, seed=seed)
    train = voc.read(root, config.train_split, year, config.classes or None, config.on_bad_data)
    return train, voc.read(root, config.val_split, year, train.classes, config.on_bad_data)
