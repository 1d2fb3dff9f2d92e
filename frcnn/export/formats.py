"""The formats of exported files: their names, the packages they need, and how to recognise a path."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pathlib
from typing import Any

from frcnn.errors import ConfigError, WeightsError
from frcnn.export.metadata import Metadata
from frcnn.export.runner import FileModels, Run
from frcnn.files import untrusted


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: name of the format in messages.
        suffix: suffix of its files.
        module: name of its module in ``frcnn.export``, with ``kernels``, ``write`` and ``open_file``.
        to_write, to_run: packages that writing and running a file need.
        why_fixed: why height, width and batch cannot be open; empty: they can.
        weights: precisions in which weights can be stored.
        float64: whether its graphs may compute in float64.
    """

    title: str
    suffix: str
    module: str
    to_write: tuple[str, ...]
    to_run: tuple[str, ...]
    why_fixed: str = ""
    weights: tuple[str, ...] = ("float32",)
    float64: bool = True

    def load(self) -> Any:
        """Import the module."""
        return importlib.import_module(f"frcnn.export.{self.module}")


FORMATS = {
    "saved_model": Format("SavedModel", ".saved_model", "saved_model", ("tensorflow",), ("tensorflow",)),
    "onnx": Format(
        "ONNX",
        ".onnx",
        "onnx_file",
        ("onnx", "tf2onnx", "onnxruntime"),
        ("onnxruntime",),
        weights=("float32", "float16", "int8"),
    ),
    "litert": Format(
        "LiteRT",
        ".tflite",
        "litert_file",
        ("tensorflow", "ai_edge_litert"),
        ("ai_edge_litert",),
        why_fixed="LiteRT's suppression needs known sizes",
        weights=("float32", "float16", "int8"),
        float64=False,
    ),
    "openvino": Format(
        "OpenVINO",
        ".xml",
        "openvino_file",
        ("onnx", "tf2onnx", "openvino"),
        ("openvino",),
        why_fixed="OpenVINO cannot read the loop over the images of an open batch",
        weights=("float32", "float16"),
    ),
}


def require(packages: tuple[str, ...], purpose: str) -> None:
    """Check that packages are installed.

    Raises:
        ConfigError: one is missing; the message says what to install.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = " ".join(name.replace("_", "-") for name in missing)
        raise ConfigError(f"{purpose} needs {', '.join(missing)}: pip install {names}, or frcnn[export]")


def format_of(path: pathlib.Path) -> Format | None:
    """Return the format of an exported file or folder, None for anything else."""
    if (path / "saved_model.pb").is_file():
        return FORMATS["saved_model"]
    by_suffix = {found.suffix: found for found in FORMATS.values()}
    return by_suffix.get(path.suffix.lower()) if not path.is_dir() else None


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    """Return all files of an exported detector: those in its folder, or the file and its weight file."""
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file()]
    return [path, path.with_suffix(".bin")] if path.suffix == FORMATS["openvino"].suffix else [path]


def open_exported(path: pathlib.Path) -> tuple[Metadata, Run] | None:
    """Load an exported file.

    Args:
        path: any path.

    Returns:
        Its description and a function that runs it; None: the path is not that of an exported file.

    Raises:
        WeightsError: it is missing or damaged, or ``frcnn export`` did not write it.
        ConfigError: the runtime of its format is not installed.
    """
    found = format_of(path)
    if found is None:
        return None
    if not path.is_dir() and (reason := untrusted.why_unreadable(path)):
        raise WeightsError(f"{path} cannot be read: {reason}")
    require(found.to_run, f"{path}, of the format {found.title},")
    try:
        return found.load().open_file(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error


def load_models(path: pathlib.Path) -> tuple[FileModels, Metadata] | None:
    """Load an exported file as a ``FileModels``, which replaces the network in ``Detector``.

    Raises: as ``open_exported``.
    """
    opened = open_exported(path)
    return opened and (FileModels(*opened), opened[0])
