"""ONNX: a file for ONNX Runtime and many others.

``tf2onnx`` turns the graph into operations of the ONNX standard. Suppression is ONNX's own
``NonMaxSuppression``, and RoIAlign its ``RoiAlign``.
"""

from __future__ import annotations

import logging
import os
import pathlib
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from frcnn.backend import portable_kernels
from frcnn.errors import WeightsError
from frcnn.export import digests, metadata, onnx_operations, onnx_weights
from frcnn.export.graph import OUTPUTS, ExportedGraph
from frcnn.export.metadata import Metadata
from frcnn.export.runner import THREADS, Run
from frcnn.files import safe_write, untrusted

OPSET = 17
MAX_BYTES = 2**31
# The file ends with one more entry of ``metadata_props`` (field 14 of ModelProto; its key is field 1 and
# its value field 2): the digest of all bytes before. No package is needed to check it.
_DIGEST_KEY = b"frcnn.sha256"
_DIGEST_START = bytes([14 << 3 | 2, 2 + len(_DIGEST_KEY) + 2 + 64, 1 << 3 | 2, len(_DIGEST_KEY)])
_DIGEST_START += _DIGEST_KEY + bytes([2 << 3 | 2, 64])


def kernels() -> AbstractContextManager:
    """Return the context in which a graph for ``write`` is traced."""
    return portable_kernels(onnx_operations.roi_align)


def write(graph: ExportedGraph, description: Metadata, path: pathlib.Path) -> None:
    """Write a file.

    Args:
        graph: traced within ``kernels``.
        description: goes to the model's ``metadata_props``; its ``weights`` are what is stored.
        path: the file.
    """
    model = converted(graph.serve, graph.dense_kernels())
    onnx_weights.reduce(model.graph, description.weights)
    save(model, description, path)


def save(model: Any, description: Metadata, path: pathlib.Path) -> None:
    """Write an ``onnx.ModelProto`` with a description and a digest."""
    model.producer_name = "frcnn"
    entry = model.metadata_props.add()
    entry.key, entry.value = metadata.KEY, metadata.to_text(description)
    content = model.SerializeToString()
    safe_write.replace(path, content + _DIGEST_START + digests.of(content).encode())


def converted(function: Any, kernels: Sequence[keras.Variable] = ()) -> Any:
    """Return a ``tf.function`` with an input signature as an ``onnx.ModelProto``.

    ``tf2onnx`` keeps a copy of each constant in each of its passes over the graph: VGG16's head with
    4096 units took 21 GB. So the largest constants are inputs while it works, and get their values after
    it.

    Args:
        function: the ``tf.function``.
        kernels: variables that it reads, whose values are kept out of ``tf2onnx``.
    """
    signature = list(function.input_signature)
    names = [f"kernel_{number}" for number in range(len(kernels))]

    def with_kernels(*arguments: tf.Tensor) -> Any:
        values = arguments[len(signature) :]
        with keras.StatelessScope(state_mapping=list(zip(kernels, values))):
            return function.python_function(*arguments[: len(signature)])

    specs = [tf.TensorSpec(one.shape, one.dtype, name) for one, name in zip(kernels, names)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tf2onnx
        from keras.src.export.tf2onnx_lib import patch_tf2onnx

        patch_tf2onnx()  # for numpy 2, as Keras' own ONNX export does
        logging.getLogger("tf2onnx").setLevel(logging.ERROR)
        model, _ = tf2onnx.convert.from_function(
            tf.function(with_kernels, input_signature=signature + specs, autograph=False),
            input_signature=signature + specs,
            opset=OPSET,
            custom_op_handlers=dict(onnx_operations.HANDLERS),
        )
    onnx_weights.bind(model.graph, dict(zip(names, kernels)))
    return model


def _is_whole(content: bytes) -> bool:
    """Return whether a file has the digest that ``write`` appended, or is not from there."""
    model, end = content[:-64], content[-64:]
    if not model.endswith(_DIGEST_START):
        return _DIGEST_KEY not in content
    return digests.of(model.removesuffix(_DIGEST_START)).encode() == end


def open_file(path: pathlib.Path) -> tuple[Metadata, Run]:
    """Load a file into ONNX Runtime.

    Raises:
        WeightsError: it is damaged, or was not written by ``write``.
    """
    import onnxruntime

    content = untrusted.read_bytes(path, MAX_BYTES)
    if not _is_whole(content):
        raise digests.changed(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are about its own optimizations
    if THREADS < (os.cpu_count() or 1):  # else it takes one thread per core, not per hyperthread
        options.intra_op_num_threads = THREADS
    try:
        session = onnxruntime.InferenceSession(content, options, onnxruntime.get_available_providers())
        text = session.get_modelmeta().custom_metadata_map.get(metadata.KEY)
    except Exception as error:  # of classes that onnxruntime makes at run time
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{path} is not a whole ONNX file: {reason}") from error
    description = metadata.from_text(text, path)

    def run(images: np.ndarray, image_sizes: np.ndarray) -> list[np.ndarray]:
        return session.run(list(OUTPUTS), dict(zip(description.inputs, (images, image_sizes))))

    return description, run
