"""Weights of all sub-models in one Keras ``.weights.h5`` file, with the config they belong to."""

import os
import pathlib

from frcnn import saved_config, weights
from frcnn.errors import WeightsError


def save(models, config, path):
    """Write the weights of ``Models``: beside ``path`` first, so that no half file takes its place.

    Args:
        models: ``frcnn.models.Models``.
        config: the ``Config`` they were built from.
        path: any name; Keras itself reads the file if it ends in ``.weights.h5``.
    """
    path = pathlib.Path(path)
    part = path.with_name(f"part-{path.name}.weights.h5")
    # The detector holds every layer of the four.
    models.detector.save_weights(part)
    saved_config.write(part, config.to_json())
    os.replace(part, path)


def load(models, path):
    """Fill ``Models`` from a file that ``save`` wrote.

    Raises:
        WeightsError: no such file, or it does not fill every layer.
    """
    if not pathlib.Path(path).is_file():
        raise WeightsError(f"there is no weight file {path}")
    filled = weights.fill(models.detector, pathlib.Path(path))
    if filled.missing or filled.misfits:
        names = [*filled.missing, *(name for name, _, _ in filled.misfits)]
        raise WeightsError(f"{path} is of another network: it does not fit {', '.join(names)}")
