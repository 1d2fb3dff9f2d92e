"""Reads files with state dicts, as {entry name: numpy array}. Nothing in a file is executed.

A ``.npz`` is read without pickle. ``.safetensors`` has no pickle; the package safetensors reads it. A
``.pth`` is a pickle: torch reads it with ``weights_only``, which accepts only tensors and plain
containers. The two packages are imported only when such a file is read; frcnn does not need them
otherwise.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from frcnn import text
from frcnn.errors import FrcnnError, WeightsError
from frcnn.files import untrusted
from frcnn.files.safe_arrays import from_npz, names_in_npz


def read_state(path: str | os.PathLike) -> dict[str, Any]:
    """Return {entry name: array} of a file with a state dict.

    Args:
        path: a ``.npz``, ``.safetensors``, ``.pth`` or ``.pt`` file. The content of a ``.pth`` is the
            state dict, or a dict with the state dict under "model", as torchvision's training scripts
            write it.

    Raises:
        WeightsError: the file is missing, of another kind or damaged, or has more than arrays.
        FrcnnError: the package that is needed to read it is not installed.
    """
    path = pathlib.Path(path)
    if path.suffix not in _READERS:
        raise WeightsError(f"cannot read {path}: its name must end in {', '.join(_READERS)}")
    if not path.exists():
        raise WeightsError(f"there is no weight file {path}")
    if fault := untrusted.why_unreadable(path):
        raise WeightsError(f"cannot read weights from {path}: {fault}")
    try:
        return _READERS[path.suffix](path)
    except FrcnnError:
        raise
    except Exception as error:  # the readers raise many kinds of errors for damaged or hostile files
        first_line = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"cannot read weights from {path}: {text.shown(first_line)}") from error


def read_names(path: str | os.PathLike) -> list[str]:
    """Return the names of the entries in a file with a state dict. Raises: as ``read_state``.

    For a ``.npz`` the arrays are not read.
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        try:
            return names_in_npz(path)
        except Exception as error:  # zipfile raises many kinds of errors for damaged or hostile files
            raise WeightsError(f"cannot read weights from {path}: {error}") from error
    return list(read_state(path))


def _read_safetensors(path):
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise FrcnnError(f"{path} needs safetensors: `pip install safetensors` ({error})") from error
    return load_file(path)


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise FrcnnError(
            f"{path} needs torch: `pip install torch` ({error}); or save it as .npz on a machine with "
            "torch"
        ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} is not a state dict, which is a dict of tensors")
    size = path.stat().st_size
    for name, tensor in state.items():
        # With a stride of 0, a few numbers can have any shape.
        if tensor.numel() * tensor.element_size() > size:
            raise WeightsError(
                f"{path}: {text.shown(name)} has the shape {tuple(tensor.shape)}, larger than the file"
            )
    return {name: _numpy(tensor) for name, tensor in state.items()}


def _numpy(tensor):
    # numpy has no bfloat16.
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


_READERS = {
    ".npz": from_npz,
    ".safetensors": _read_safetensors,
    ".pth": _read_torch,
    ".pt": _read_torch,
}
