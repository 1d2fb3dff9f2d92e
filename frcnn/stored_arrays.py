"""Arrays out of a stranger's weight file: numbers that lie in that file, and nothing is executed.

An ``.npz`` may hold pickles, which are programs. An HDF5 file may, instead of numbers, name any other
file of the machine: by a link, or as the place where a dataset's bytes lie. Weights read so would be
somebody's private file, and would be published with the next detector that is saved.
"""

import h5py
import numpy as np


def from_npz(path):
    """Return {name: array} of a ``.npz`` file.

    Raises:
        Exception: any kind, for whatever else the file may be.
    """
    # Not np.load, which would take other files than zip archives, too.
    with np.lib.npyio.NpzFile(path, allow_pickle=False) as file:
        return {name: _numbers(file[name], name) for name in file.files}


def from_hdf5(group, path):
    """Return the array at a path within a group of an open HDF5 file.

    Raises:
        Exception: any kind; of the file's own contents, ValueError and KeyError.
    """
    dataset = member(group, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{path} does not hold its numbers itself")
    return _numbers(dataset[()], path)


def member(group, path):
    """Return what lies at a path within a group, and not at the end of a link."""
    for name in filter(None, path.split("/")):
        if not isinstance(group, h5py.Group):
            raise KeyError(f"there is no {path}")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is a link to somewhere else")
        group = group[name]
    return group


def _numbers(array, name):
    if np.asarray(array).dtype.kind not in "fiub":
        raise ValueError(f"{name} holds something else than numbers")
    return np.asarray(array)
