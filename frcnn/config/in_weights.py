"""The config that travels with weights, inside our weight files: one file is a whole detector."""

import pathlib

import h5py

from frcnn.files import safe_arrays

ATTRIBUTE = "frcnn_config"


def file_of(path, weights="best.weights.h5"):
    """Return the weight file that a path stands for: a run directory has it inside, a file is it."""
    path = pathlib.Path(path)
    return path / weights if path.is_dir() else path


def write(path, text):
    """Put a config's JSON into an HDF5 weight file."""
    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = text


def read(path):
    """Return the JSON of the config that a weight file was trained with, None where it holds none.

    Args:
        path: of the file, or of a run directory, whose best weights are meant.
    """
    try:
        with safe_arrays.open_hdf5(file_of(path)) as file:
            text = file.attrs.get(ATTRIBUTE)
    except Exception:  # missing, damaged or no HDF5: whoever reads the weights will say so
        return None
    return text if isinstance(text, str) else None
