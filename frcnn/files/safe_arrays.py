"""Read the arrays of an untrusted weight file (``.npz``, HDF5) safely.

numpy and h5py read such files, but do not protect against these dangers:

- An ``.npz`` may have pickles, which are programs. They are refused.
- An HDF5 file may refer to any other file on the machine, by a link or by external storage. The content
  of that file would become part of the next detector that is saved. Such datasets are refused.
- A file of a few bytes may declare an array of gigabytes, and readers allocate memory before they read.
  The declared size is compared with the largest size that is possible in the file.
- A few wrong bytes in an HDF5 file can make its C library loop without end, and Python handles no signal
  meanwhile. So a child process reads the file first, with limited time and memory.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator

import h5py
import numpy as np

from frcnn import text
from frcnn.files import untrusted

ARRAY_HEADER = 2**16  # maximum bytes before the numbers of an array in an .npz

NUMBERS = "fiub"  # kinds of dtype: float, signed and unsigned integer, bool

# Limits of the child process that reads an HDF5 file first.
SECONDS, BYTES_PER_SECOND = 30.0, 2e7  # a slow network disk
SPARE_MEMORY = 2**31  # bytes beside the largest array


def from_npz(path: pathlib.Path | str) -> dict[str, np.ndarray]:
    """Return {name: array} of a ``.npz`` file.

    Raises:
        Exception: of any kind, if the file is something else or damaged.
    """
    # Not np.load, which also reads files that are not zip archives.
    with untrusted.open_regular(path) as opened:
        with np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            archive = file.zip
            assert archive is not None  # it is open
            for entry in archive.infolist():
                _check_entry(archive, entry)
            return {name: _numbers(file[name], name) for name in file.files}


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raise ``ValueError`` if an entry of an ``.npz`` declares more numbers than it can hold."""
    if entry.file_size > entry.compress_size * untrusted.DEFLATE_LIMIT + ARRAY_HEADER:
        raise ValueError(f"{text.shown(entry.filename)} declares more bytes than the file can hold")
    with archive.open(entry) as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX))
    if start != np.lib.format.MAGIC_PREFIX:
        return  # NpzFile returns its bytes, which ``_numbers`` refuses
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"{text.shown(entry.filename)} has an unknown version, {version}")
        shape, _, dtype = read[version](file)
    _check_declared(entry.filename, shape, dtype, entry.file_size)


@contextlib.contextmanager
def open_hdf5(path: pathlib.Path | str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, after a child process has read it once.

    Raises:
        Exception: of any kind; ValueError if the child exceeds its limits.
    """
    path = pathlib.Path(path)
    with untrusted.open_regular(path) as opened:
        status = os.fstat(opened.fileno())
        _check_in_child(str(path.resolve()), status.st_size, status.st_mtime_ns)
    with h5py.File(path) as file:
        yield file


@functools.lru_cache(maxsize=64)
def _check_in_child(path: str, size: int, changed: int) -> None:
    """Read a whole HDF5 file in a child process with limited time and memory.

    Args:
        path: the file.
        size: its length, bytes.
        changed: the time when it was written; part of the cache's key.

    Raises:
        ValueError: the child did not end in time, crashed or needed too much memory.
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
        raise ValueError("it is damaged: reading it does not end") from None
    if child.returncode < 0:
        raise ValueError(f"it is damaged: reading it ends with signal {-child.returncode}")
    if child.returncode:
        last = child.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ValueError(text.shown(last[0] if last else f"status {child.returncode}"))


def _read_all(path: str, memory: int) -> None:
    """Read every number and attribute of an HDF5 file; this runs in the child process."""
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


def names_in_npz(path: pathlib.Path | str) -> list[str]:
    """Return the names of the arrays in a ``.npz`` file, without reading the arrays.

    Raises:
        Exception: of any kind, if the file is something else or damaged.
    """
    with untrusted.open_regular(path) as opened:
        with np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
            return list(file.files)


def from_hdf5(group: h5py.Group, path: str) -> np.ndarray:
    """Return the array at a path within a group of an open HDF5 file.

    Raises:
        ValueError, KeyError: there is no such array, or its numbers are not in this file.
        Exception: of any other kind, raised by h5py.
    """
    dataset = member(group, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ValueError(f"the numbers of {path} are not in this file")
    _check_dataset(dataset, path)
    return _numbers(dataset[()], path)


def _check_dataset(dataset: h5py.Dataset, name: str) -> None:
    held = dataset.id.get_storage_size() * (
        1 if dataset.compression is None else untrusted.DEFLATE_LIMIT
    )
    if dataset.shape is not None and dataset.dtype.kind in NUMBERS:
        _check_declared(name, dataset.shape, dataset.dtype, held)


def _check_declared(name: str, shape: tuple[int, ...], dtype: np.dtype, held: int) -> None:
    declared = dtype.itemsize
    for side in shape:  # Python's integers do not overflow
        declared *= int(side)
    if declared > held:
        raise ValueError(
            f"{text.shown(name)} declares {declared:,} bytes of numbers, but the file has at most "
            f"{held:,}"
        )


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
    """Return the group or dataset at a path within a group; links are not followed."""
    for name in filter(None, path.split("/")):
        if not isinstance(group, h5py.Group):
            raise KeyError(f"there is no {path}")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{path} is a link to another place")
        group = group[name]
    return group


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    if np.asarray(array).dtype.kind not in NUMBERS:
        raise ValueError(f"{name} does not hold numbers")
    return np.asarray(array)
