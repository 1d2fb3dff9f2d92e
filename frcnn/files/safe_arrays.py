"""Arrays out of a stranger's weight file: numbers that lie in that file, and nothing is executed.

An ``.npz`` may hold pickles, which are programs. An HDF5 file may, instead of numbers, name any other
file of the machine: by a link, or as the place where a dataset's bytes lie. Weights read so would be
somebody's private file, and would be published with the next detector that is saved.

A file of a few bytes may declare an array of gigabytes, for which readers make room before they read.
So what is declared is held against what the file can hold. A few wrong bytes in an HDF5 file make its
library loop for ever in C, where no signal is heard. So a child process reads it first, in bounded time
and memory.
"""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np

from frcnn import text
from frcnn.files import untrusted

ARRAY_HEADER = 2**16  # bytes at most before the numbers of an array in an .npz

NUMBERS = "fiub"  # kinds of dtype: floats, whole numbers, signed or not, and bool

# Of the child that reads an HDF5 file first.
SECONDS, BYTES_PER_SECOND = 30.0, 2e7  # a slow network disk
SPARE_MEMORY = 2**31  # bytes beside the largest array


def from_npz(path):
    """Return {name: array} of a ``.npz`` file.

    Raises:
        Exception: any kind, for whatever else the file may be.
    """
    # Not np.load, which would take other files than zip archives, too.
    with untrusted.open_regular(path) as opened:
        with np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            for entry in file.zip.infolist():
                _check_entry(file.zip, entry)
            return {name: _numbers(file[name], name) for name in file.files}


def _check_entry(archive, entry):
    """Raise ``ValueError`` where an entry of an ``.npz`` declares more numbers than it can hold."""
    if entry.file_size > entry.compress_size * untrusted.DEFLATE_LIMIT + ARRAY_HEADER:
        raise ValueError(f"{text.shown(entry.filename)} declares more bytes than the file can hold")
    with archive.open(entry) as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        return  # NpzFile gives its bytes, which are no numbers
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"{text.shown(entry.filename)} has an unknown version, {version}")
        shape, _, dtype = read[version](file)
    _check_declared(entry.filename, shape, dtype, entry.file_size)


@contextlib.contextmanager
def open_hdf5(path):
    """Open an HDF5 file for reading, once a child process has shown that it can be read.

    Raises:
        Exception: any kind; ValueError where reading does not end within bounds.
    """
    path = pathlib.Path(path)
    with untrusted.open_regular(path) as opened:
        status = os.fstat(opened.fileno())
        _check_in_child(str(path.resolve()), status.st_size, status.st_mtime_ns)
    with h5py.File(path) as file:
        yield file


@functools.lru_cache(maxsize=64)
def _check_in_child(path, size, changed):
    """Read a whole HDF5 file in a child process of limited time and memory.

    Args:
        path: of the file.
        size, changed: bytes, and when it was written: for another file of the same name.

    Raises:
        ValueError: the child did not come to an end, or needed too much.
    """
    code = f"from frcnn.files import safe_arrays; safe_arrays._read_all({path!r}, {size + SPARE_MEMORY})"
    root = str(pathlib.Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS + size / BYTES_PER_SECOND,
        )
    except subprocess.TimeoutExpired:
        raise ValueError("it is damaged: reading it does not come to an end") from None
    if child.returncode < 0:
        raise ValueError(f"it is damaged: reading it ends with signal {-child.returncode}")
    if child.returncode:
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(text.shown(last[0] if last else f"status {child.returncode}"))


def _read_all(path, memory):
    """Read every number and attribute of an HDF5 file; what runs in the child."""
    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        in_use = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory,) * 2)

    def visit(name, item):
        dict(item.attrs)
        if isinstance(item, h5py.Dataset) and not item.external and not item.is_virtual:
            _check_dataset(item, name)
            if item.dtype.kind in NUMBERS:
                item[()]

    with h5py.File(path) as file:
        dict(file.attrs)
        file.visititems(visit)


def names_in_npz(path):
    """Return the names of the arrays of a ``.npz`` file, without reading them.

    Raises:
        Exception: any kind, for whatever else the file may be.
    """
    with untrusted.open_regular(path) as opened:
        with np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return list(file.files)


def from_hdf5(group, path):
    """Return the array at a path within a group of an open HDF5 file.

    Raises:
        Exception: any kind; of the file's own contents, ValueError and KeyError.
    """
    dataset = member(group, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"{path} does not hold its numbers itself")
    _check_dataset(dataset, path)
    return _numbers(dataset[()], path)


def _check_dataset(dataset, name):
    held = dataset.id.get_storage_size() * (
        1 if dataset.compression is None else untrusted.DEFLATE_LIMIT
    )
    if dataset.shape is not None and dataset.dtype.kind in NUMBERS:
        _check_declared(name, dataset.shape, dataset.dtype, held)


def _check_declared(name, shape, dtype, held):
    declared = dtype.itemsize
    for side in shape:  # whole numbers of Python, which do not overflow
        declared *= int(side)
    if declared > held:
        raise ValueError(
            f"{text.shown(name)} declares {declared:,} bytes of numbers, of which the file holds "
            f"{held:,} at most"
        )


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
    if np.asarray(array).dtype.kind not in NUMBERS:
        raise ValueError(f"{name} holds something else than numbers")
    return np.asarray(array)
