"""State dicts from files, as {entry name: numpy array}. Nothing that a file holds is executed.

A ``.npz`` is read without pickle. So is ``.safetensors``, which cannot hold any, by the package of that
name. A ``.pth`` is a pickle by design: it is left to torch's own restricted reader (``weights_only``),
which makes tensors and plain containers and refuses everything else. Neither package is needed for the
rest of frcnn; each is imported when a file asks for it.
"""

import pathlib

from frcnn import text
from frcnn.errors import FrcnnError, WeightsError
from frcnn.files import untrusted
from frcnn.files.safe_arrays import from_npz, names_in_npz


def read_state(path):
    """Return {entry name: array} of a state dict's file.

    Args:
        path: a ``.npz``, ``.safetensors``, ``.pth`` or ``.pt`` file. A ``.pth`` may hold the state
            dict itself or, as torchvision's training scripts write it, a dict with it under "model".

    Raises:
        WeightsError: the file is missing, of another kind, damaged, or holds more than arrays.
        FrcnnError: the package that reads it is not installed.
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
    except Exception as error:  # whatever a damaged or hostile file makes the readers raise
        first_line = (str(error).splitlines() or [""])[0]
        raise WeightsError(f"cannot read weights from {path}: {text.shown(first_line)}") from error


def read_names(path):
    """Return the names of the entries of a state dict's file; of a ``.npz`` without their arrays.

    Raises: as ``read_state``.
    """
    path = pathlib.Path(path)
    if path.suffix == ".npz" and path.is_file():
        try:
            return names_in_npz(path)
        except Exception as error:  # whatever a damaged or hostile file makes zipfile raise
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
            f"{path} needs torch: `pip install torch` ({error}); or write it as .npz where torch is"
        ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds no state dict: that has a tensor for each name")
    size = path.stat().st_size
    for name, tensor in state.items():
        # A tensor's strides may repeat its few numbers as often as its shape says.
        if tensor.numel() * tensor.element_size() > size:
            raise WeightsError(
                f"{path}: {text.shown(name)} declares {tuple(tensor.shape)}, more than there is"
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
