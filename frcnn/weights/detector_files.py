"""The weight files of frcnn: the weights of all sub-models in one Keras file, with their config."""

from __future__ import annotations

import io
import os
import pathlib

from frcnn import backend
from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.errors import WeightsError
from frcnn.files import safe_write
from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.weights import initial


def save(models: FasterRCNN, config: Config, path: str | os.PathLike) -> None:
    """Write the weights and the config of a network to a file, atomically.

    Args:
        models: the network.
        config: the settings from which it was built.
        path: the file. Keras itself can read it if its name ends in ``.weights.h5``.

    Raises:
        OSError: the file cannot be written. A file that was there before is unchanged.
    """
    # Written to memory first, because HDF5 ends the process (SIGSEGV) if the disk is full.
    file = _NamedMemory()
    with backend.this_process_only():  # Keras makes an optimizer to compare with
        models.detector.save_weights(file)  # the detector contains all layers
    in_weights.write(file, config.to_json())
    safe_write.replace(pathlib.Path(path), file.getbuffer())


class _NamedMemory(io.BytesIO):
    """A file in memory with a name that Keras accepts for a weight file."""

    def __str__(self):
        return "memory.weights.h5"


def load(models: FasterRCNN, path: str | os.PathLike) -> None:
    """Load the weights of a network from a file of ``save``.

    Raises:
        WeightsError: there is no such file, or it does not have the weights of every layer.
    """
    if not pathlib.Path(path).is_file():
        raise WeightsError(f"there is no weight file {path}")
    filled = initial.load_weights(models.detector, pathlib.Path(path))
    if filled.missing or filled.mismatched:
        names = [*filled.missing, *(name for name, _, _ in filled.mismatched)]
        raise WeightsError(f"{path} belongs to another network: it does not fit {', '.join(names)}")
