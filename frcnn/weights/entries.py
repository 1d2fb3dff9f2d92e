"""What a weight file holds, under the names that it has there.

HDF5 as Keras 3 saves it (``.weights.h5``, our own runs'), HDF5 as ``keras.applications`` and Keras 2
have it, and state dicts in ``.npz``, ``.safetensors`` or ``.pth`` (``state_dicts``). Nothing in a
file is executed.

A ``.npz`` may also hold ``Conv_k/kernel`` (HWIO) and ``Conv_k/bias``, k counting the backbone's
convolutions from 0, and ``Dense_k/kernel`` (in, out) and ``Dense_k/bias`` for the head's dense layers,
whose input is flattened row, column, channel. Their pixels are torchvision's.
"""

import h5py

from frcnn.errors import FrcnnError, WeightsError
from frcnn.files import safe_arrays
from frcnn.weights import imagenet, state_dicts

STATE_SUFFIXES = (".npz", ".safetensors", ".pth", ".pt")


def read(path):
    """Return {name: list of arrays} of a weight file: a list a layer, or one array an entry of a state.

    Raises:
        WeightsError: the file is of no kind that is read, or damaged.
        FrcnnError: a package that reads it is not installed.
    """
    if path.suffix in STATE_SUFFIXES:
        return state_dicts.read_state(path)
    return _from_hdf5(path, _arrays_of)


def read_names(path):
    """Return the names in a weight file, of layers or of a state's entries."""
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
    except Exception as error:  # whatever a damaged file makes h5py raise
        raise WeightsError(f"cannot read weights from {path}: {error}") from error


def _arrays_of(group, paths):
    return [safe_arrays.from_hdf5(group, path) for path in paths]


def _root(file):
    # Whole models saved by Keras 2 hold their weights one level down.
    return safe_arrays.member(file, "model_weights") if "model_weights" in file else file


def _keras2_layers(file):
    """Return (name, group, paths of its arrays in there) of each layer."""
    root, found = _root(file), []
    for name in root.attrs["layer_names"]:
        layer = safe_arrays.member(root, _text(name))
        paths = [_text(path) for path in layer.attrs["weight_names"]]
        found.append((imagenet.current_name(_text(name)), layer, paths))
    return found


def _keras3_layers(file):
    """Return (name, group, paths of its arrays in there) of each layer."""
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
