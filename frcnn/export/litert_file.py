"""LiteRT (once TensorFlow Lite): a file for phones and small devices, with builtin operations only.

The description is in a ZIP archive behind the model, where LiteRT's own metadata format keeps a model's
files: ``unzip -p detector.tflite labels.txt`` shows the class names.
"""

from __future__ import annotations

import io
import pathlib
import tempfile
import zipfile

import numpy as np

from frcnn.backend import portable_kernels
from frcnn.errors import WeightsError
from frcnn.export import digests, metadata
from frcnn.export.graph import OUTPUTS, ExportedGraph
from frcnn.export.metadata import Metadata
from frcnn.export.runner import THREADS, Run
from frcnn.files import safe_write, untrusted

DESCRIPTION, LABELS, DIGEST = "frcnn.json", "labels.txt", "sha256.txt"
kernels = portable_kernels  # within which a graph is traced
MAX_BYTES, MAX_TEXT_BYTES = 2**31, 2**24


def write(graph: ExportedGraph, description: Metadata, path: pathlib.Path) -> None:
    """Write a file.

    Args:
        graph: traced within ``kernels``, with a fixed input.
        description: its ``weights`` are what is stored.
        path: the file.
    """
    model = _converted(graph, description.weights)
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(DESCRIPTION, metadata.to_text(description))
        archive.writestr(LABELS, "\n".join(description.classes))
        archive.writestr(DIGEST, digests.of(model))
    safe_write.replace(path, file.getbuffer())


def _converted(graph: ExportedGraph, weights: str) -> bytes:
    """Return the graph as a LiteRT model."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        graph.save(folder, "serving_default")
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()


def open_file(path: pathlib.Path) -> tuple[Metadata, Run]:
    """Load a file into LiteRT's interpreter.

    Raises:
        WeightsError: it is damaged, or was not written by ``write``.
    """
    from ai_edge_litert.interpreter import Interpreter

    model, text = _read(path)
    description = metadata.from_text(text, path)
    try:
        interpreter = Interpreter(model_content=model, num_threads=THREADS)
        runner = interpreter.get_signature_runner()
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{path} is not a whole LiteRT file: {reason}") from error

    def run(images: np.ndarray, image_sizes: np.ndarray) -> list[np.ndarray]:
        found = runner(**dict(zip(description.inputs, (images, image_sizes))))
        return [found[name] for name in OUTPUTS]

    return description, run


def _read(path: pathlib.Path) -> tuple[bytes, str | None]:
    """Return the model and its description, which is None if there is none.

    The model is first compared with its digest, because the interpreter may crash on a damaged model.
    """
    content = untrusted.read_bytes(path, MAX_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.file_size > MAX_TEXT_BYTES for entry in archive.infolist()):
                raise WeightsError(f"the description in {path} is longer than {MAX_TEXT_BYTES} bytes")
            start = min(entry.header_offset for entry in archive.infolist())
            text, digest = archive.read(DESCRIPTION).decode(), archive.read(DIGEST).decode()
    except (zipfile.BadZipFile, KeyError, ValueError):
        return b"", None
    model = content[:start]
    if digests.of(model) != digest:
        raise digests.changed(path)
    return model, text
