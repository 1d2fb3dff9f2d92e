"""The config that travels with weights, inside our weight files: one file is a whole detector."""

import h5py

from frcnn import stored_arrays

ATTRIBUTE = "frcnn_config"


def write(path, text):
    """Put a config's JSON into an HDF5 weight file."""
    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = text


def read(path):
    """Return the JSON of the config that a weight file was trained with, None where it holds none."""
    try:
        with stored_arrays.open_hdf5(path) as file:
            text = file.attrs.get(ATTRIBUTE)
    except Exception:  # missing, damaged or no HDF5: whoever reads the weights will say so
        return None
    return text if isinstance(text, str) else None
