"""Weights of all sub-models in one Keras ``.weights.h5`` file, with the config they belong to."""

import io
import pathlib

from frcnn.config import in_weights
from frcnn.errors import WeightsError
from frcnn.files import safe_write
from frcnn.weights import initial


def save(models, config, path):
    """Write the weights of ``FasterRCNN``: beside ``path`` first, so that no half file takes its place.

    Args:
        models: ``frcnn.models.faster_rcnn.FasterRCNN``.
        config: the ``Config`` they were built from.
        path: any name; Keras itself reads the file if it ends in ``.weights.h5``.

    Raises:
        OSError: the disk does not take it; what was there before is untouched.
    """
    # HDF5 ends the process (SIGSEGV) when the disk that it writes to is full. It writes to memory.
    file = _NamedMemory()
    models.detector.save_weights(file)  # the detector holds every layer of the four
    in_weights.write(file, config.to_json())
    safe_write.replace(pathlib.Path(path), file.getbuffer())


class _NamedMemory(io.BytesIO):
    """A file in memory with the name that Keras wants of a weight file."""

    def __str__(self):
        return "memory.weights.h5"


def load(models, path):
    """Fill ``FasterRCNN`` from a file that ``save`` wrote.

    Raises:
        WeightsError: no such file, or it does not fill every layer.
    """
    if not pathlib.Path(path).is_file():
        raise WeightsError(f"there is no weight file {path}")
    filled = initial.load_weights(models.detector, pathlib.Path(path))
    if filled.missing or filled.mismatched:
        names = [*filled.missing, *(name for name, _, _ in filled.mismatched)]
        raise WeightsError(f"{path} is of another network: it does not fit {', '.join(names)}")
