"""The config inside a weight file of frcnn. So one file is a whole detector."""

from __future__ import annotations

import os
import pathlib
from typing import Any

import h5py

from frcnn.files import safe_arrays

ATTRIBUTE = "frcnn_config"


def file_of(path: str | os.PathLike, weights: str = "best.weights.h5") -> pathlib.Path:
    """Return the path of a weight file: the path itself, or ``weights`` in a run directory."""
    path = pathlib.Path(path)
    return path / weights if path.is_dir() else path


def write(path: Any, text: str) -> None:
    """Write a config into an HDF5 weight file.

    Args:
        path: the file, as a path or an open binary file.
        text: the config as JSON.
    """
    with h5py.File(path, "r+") as file:
        file.attrs[ATTRIBUTE] = text


def read(path: str | os.PathLike) -> str | None:
    """Return the config in a weight file, as JSON; None if there is none.

    Args:
        path: the file, or a run directory with ``best.weights.h5``.
    """
    try:
        with safe_arrays.open_hdf5(file_of(path)) as file:
            text = file.attrs.get(ATTRIBUTE)
    except Exception:  # missing, damaged or not HDF5: the functions that read the weights report it
        return None
    return text if isinstance(text, str) else None
