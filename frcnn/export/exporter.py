"""Write a detector to a file of a format, and check the file before it gets its final name."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

from frcnn.data.sample import Dataset
from frcnn.errors import ConfigError, OutputError
from frcnn.export.check import Report, check
from frcnn.export.formats import FORMATS, Format, files_of, format_of, require
from frcnn.export.metadata import Dtype, Weights
from frcnn.export.table import table
from frcnn.files import outputs, safe_write

DISAGREES = ".disagrees"
TABLE = ".check.md"


def check_request(
    name: str, out: pathlib.Path, size: object, dynamic: bool, weights: str, overwrite: bool
) -> Format:
    """Check the options before a network is built, and return the format.

    Args:
        name: name of the format.
        out: the file to write.
        size: height and width of the input, pixels, or None.
        dynamic: whether height, width and batch are open.
        weights: precision of the stored weights.
        overwrite: whether an earlier export may be replaced.

    Raises:
        ConfigError: the options do not fit together or a package is missing.
        OutputError: the file cannot be written.
    """
    found = FORMATS[name]
    if dynamic and size:
        raise ConfigError("--dynamic leaves the input's size open, which --size fixes: give one of them")
    if dynamic and found.why_fixed:
        raise ConfigError(
            f"a file of {found.title} has a fixed input, as {found.why_fixed}: leave out --dynamic; "
            "--resize takes images of any size"
        )
    if weights not in found.weights:
        raise ConfigError(
            f"{found.title} is written with {' or '.join(found.weights)} weights here, not {weights}"
        )
    require(tuple(dict.fromkeys(found.to_write + found.to_run)), f"--format {name}")
    if name == "saved_model":
        outputs.check_folder(out)
        is_ours = overwrite and format_of(out) is found
        if out.exists() and not is_ours:
            raise OutputError(f"{out} exists already; give another name, or --overwrite")
    else:
        if out.suffix.lower() != found.suffix:
            raise ConfigError(
                f"the name of a file of {found.title} ends in {found.suffix}, not as {out}"
            )
        outputs.new_file(out, overwrite)
    return found


def export(
    detector: Any,
    name: str,
    out: pathlib.Path,
    images: Sequence[Any],
    dataset: Dataset | None = None,
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    weights: Weights = "float32",
    resizes: bool = False,
) -> tuple[Report, pathlib.Path]:
    """Write, check and name a file, and write the check's table beside it.

    Args:
        detector: the Keras ``frcnn.detector.Detector``; its network may be replaced by one in float32.
        name: name of the format, a key of ``FORMATS``.
        out: the file, which ``check_request`` has checked.
        images: at least one, of any kind that ``Detector.predict`` takes, for the comparison.
        dataset: labelled images for AP.
        size: height and width of the input; None: see ``graph.fixed_shape``.
        dynamic: whether height, width and batch are open.
        weights: precision of the stored weights.
        resizes: whether the file resizes images of any size itself.

    Returns:
        The report, and the path of the file, which ends in ``.disagrees`` if it does not agree.

    Raises:
        ConfigError: the size does not fit the network, or the format lacks what the detector needs.
        OutputError: a file cannot be written.

    Example:
        >>> report, path = export(detector, "onnx", Path("detector.onnx"), ["photo.jpg"])
    """
    from frcnn.export import graph

    if detector.config.box.kind == "oriented" and name == "openvino":
        raise ConfigError(
            "OpenVINO cannot read the loop in the NMS of oriented boxes: export with --format onnx, "
            "litert or saved_model"
        )
    for setting, off in (("soft_nms_sigma", "0"), ("flip", "false"), ("short_sides", "")):
        if getattr(detector.config.detection, setting):
            raise ConfigError(
                f"detection.{setting} is no part of an exported file: export without it, by --set "
                f"detection.{setting}={off}"
            )
    detector = type(detector)(graph.in_float32(detector.models), detector.config, detector.classes)
    unchecked = out.with_name(f"unchecked-{out.name}")
    try:
        with outputs.writing(out):
            write(detector, name, unchecked, size, dynamic, weights, resizes)
        report = check(detector, unchecked, images, dataset)
        out = out.with_name(out.name + DISAGREES) if report.faults() else out
        with outputs.writing(out):
            _rename(unchecked, out)
            text = table(report, out.name) + "\n"
            safe_write.replace(out.with_name(out.name + TABLE), text.encode())
    finally:
        _remove(unchecked)
    return report, out


def write(
    detector: Any,
    name: str,
    path: pathlib.Path,
    size: tuple[int, int] | None = None,
    dynamic: bool = False,
    weights: Weights = "float32",
    resizes: bool = False,
) -> None:
    """Write a file without checking it.

    Args:
        detector: with a network in float32.
        path: the new file.
        name, size, dynamic, weights, resizes: as for ``export``.
    """
    from frcnn.export import graph

    writer = FORMATS[name].load()
    shape = graph.InputShape(None, None, None) if dynamic else graph.fixed_shape(detector.models, size)
    shape = dataclasses.replace(shape, resizes=resizes)
    dtype: Dtype = "uint8" if detector.config.data.uint8_images else "float32"
    description = graph.describe(detector, shape, dtype, weights)
    float64 = FORMATS[name].float64
    traced = graph.ExportedGraph(detector.models, shape, dtype, writer.kernels, float64)
    writer.write(traced, description, path)


def _rename(path: pathlib.Path, out: pathlib.Path) -> None:
    """Rename an exported detector, and replace a file or folder that has the new name."""
    _remove(out)
    if path.suffix == FORMATS["openvino"].suffix:
        weights = (
            out.with_suffix(".bin") if out.suffix == path.suffix else out.with_name(f"{out.name}.bin")
        )
        path.with_suffix(".bin").replace(weights)
    path.rename(out)


def _remove(path: pathlib.Path) -> None:
    """Delete an exported detector, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        for file in files_of(path):
            file.unlink(missing_ok=True)
