"""OpenVINO: a pair of files, ``.xml`` and ``.bin``, for Intel's runtime, made from the ONNX graph."""

from __future__ import annotations

import pathlib
import tempfile

import numpy as np

from frcnn.errors import WeightsError
from frcnn.export import digests, metadata, onnx_file
from frcnn.export.graph import OUTPUTS, ExportedGraph
from frcnn.export.metadata import Metadata
from frcnn.export.runner import Run

kernels = onnx_file.kernels


def write(graph: ExportedGraph, description: Metadata, path: pathlib.Path) -> None:
    """Write the two files.

    Args:
        graph: traced within ``kernels``.
        description: goes to the model's ``rt_info``; its ``weights`` are what is stored.
        path: the ``.xml`` file.
    """
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "detector.onnx")
        onnx_file.write(graph, description.model_copy(update={"weights": "float32"}), file)
        model = openvino.Core().read_model(file)
        model.set_rt_info(metadata.to_text(description), [metadata.KEY])
        openvino.save_model(model, path, compress_to_fp16=description.weights == "float16")
    content = path.read_bytes()
    found = digests.of(content), digests.of_file(path.with_suffix(".bin"))
    path.write_bytes(content + b"\n" + _comment(*found))


def _comment(xml_digest: str, bin_digest: str) -> bytes:
    """Return the last line of the ``.xml`` file: the digests of the lines before and of the weights."""
    return f"<!-- frcnn sha256 {xml_digest} {bin_digest} -->\n".encode()


def _is_whole(path: pathlib.Path) -> bool:
    """Return whether both files have the digests in the last line, or there is no such line."""
    content, _, end = path.read_bytes().rpartition(b"\n<!-- frcnn sha256 ")
    weights = path.with_suffix(".bin")
    if not content or not weights.is_file():
        return True  # what is wrong, the runtime says
    found = digests.of(content), digests.of_file(weights)
    return _comment(*found).endswith(b"sha256 " + end)


def open_file(path: pathlib.Path) -> tuple[Metadata, Run]:
    """Compile the model for the CPU.

    Raises:
        WeightsError: it is damaged, or was not written by ``write``.
    """
    import openvino

    if not _is_whole(path):
        raise digests.changed(path)
    core = openvino.Core()
    try:
        model = core.read_model(path)
        text = (
            model.get_rt_info([metadata.KEY]).astype(str) if model.has_rt_info([metadata.KEY]) else None
        )
        description = metadata.from_text(text, path)
        # float32 throughout, as the check demands; the default may be bfloat16 on new processors.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        reason = str(error).strip().rpartition("\n")[2]
        raise WeightsError(f"{path} is not a whole OpenVINO model: {reason}") from error

    def run(images: np.ndarray, image_sizes: np.ndarray) -> list[np.ndarray]:
        found = compiled(dict(zip(description.inputs, (images, image_sizes))))
        return [found[name] for name in OUTPUTS]

    return description, run
