"""Reads weight files: their arrays, under the names in the file.

It reads HDF5 of Keras 3 (``.weights.h5``, such as the files of frcnn), HDF5 of Keras 2 and
``keras.applications``, and state dicts in ``.npz``, ``.safetensors`` or ``.pth`` (``state_dicts``).
Nothing in a file is executed.

A ``.npz`` may also have ``Conv_k/kernel`` (HWIO) and ``Conv_k/bias``, where k numbers the backbone's
convolutions from 0, and ``Dense_k/kernel`` (in, out) and ``Dense_k/bias`` for the head's dense layers,
whose input is flattened in the order row, column, channel. Their preprocessing is torchvision's.
"""

from __future__ import annotations

import pathlib
from typing import Any

import h5py

from frcnn.errors import FrcnnError, WeightsError
from frcnn.files import safe_arrays
from frcnn.weights import imagenet, state_dicts

STATE_SUFFIXES = (".npz", ".safetensors", ".pth", ".pt")


def read(path: pathlib.Path) -> dict[str, Any]:
    """Return {layer name: list of arrays} of a weight file, or {entry name: array} of a state dict.

    Raises:
        WeightsError: the file is damaged, or is not one of these kinds.
        FrcnnError: a package that is needed to read it is not installed.
    """
    if path.suffix in STATE_SUFFIXES:
        return state_dicts.read_state(path)
    return _from_hdf5(path, _arrays_of)


def read_names(path: pathlib.Path) -> list[str]:
    """Return the names in a weight file, of layers or of a state dict's entries. Raises: as ``read``."""
    if path.suffix in STATE_SUFFIXES:
        return list(state_dicts.read_names(path))
    return list(_from_hdf5(path, lambda group, paths: None))


def _from_hdf5(path, value_of):
    try:
        with safe_arrays.open_hdf5(path) as file:
            kind = _keras2_layers if "layer_names" in _root(file).attrs else _keras3_layers
            return {name: value_of(group, paths) for name, group, paths in kind(file) if paths}
    except FrcnnError:
        raise
    except Exception as error:  # h5py raises many kinds of errors for damaged files
        raise WeightsError(f"cannot read weights from {path}: {error}") from error


def _arrays_of(group, paths):
    return [safe_arrays.from_hdf5(group, path) for path in paths]


def _root(file):
    # Files of whole models of Keras 2 have the weights in a group.
    return safe_arrays.member(file, "model_weights") if "model_weights" in file else file


def _keras2_layers(file):
    """Return (name, group, paths of the arrays in the group) of each layer of a Keras 2 file."""
    root, found = _root(file), []
    for name in root.attrs["layer_names"]:
        layer = safe_arrays.member(root, _text(name))
        paths = [_text(path) for path in layer.attrs["weight_names"]]
        found.append((imagenet.current_name(_text(name)), layer, paths))
    return found


def _keras3_layers(file):
    """Return (name, group, paths of the arrays in the group) of each layer of a Keras 3 file."""
    found = []

    def visit(path, group):
        if path.startswith("optimizer"):
            return
        if isinstance(group, h5py.Group) and "name" in group.attrs and len(group):
            paths = [str(number) for number in range(len(group))]
            found.append((_text(group.attrs["name"]), group, paths))

    file.visititems(visit)
    return found


def _text(name):
    return name.decode() if isinstance(name, bytes) else name
