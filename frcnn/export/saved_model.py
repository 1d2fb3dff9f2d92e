"""SavedModel: a folder for TensorFlow and TensorFlow Serving, with TensorFlow's fast kernels inside."""

from __future__ import annotations

import contextlib
import pathlib

import numpy as np
import tensorflow as tf

from frcnn.errors import WeightsError
from frcnn.export import digests, metadata
from frcnn.export.graph import OUTPUTS, ExportedGraph
from frcnn.export.metadata import Metadata
from frcnn.export.runner import Run

# TensorFlow's place for a user's own files in a SavedModel.
DESCRIPTION = pathlib.Path("assets.extra", "frcnn.json")
DIGESTS = pathlib.Path("assets.extra", "sha256.txt")
SIGNATURE = "serving_default"

kernels = contextlib.nullcontext  # any kernel of TensorFlow


def write(graph: ExportedGraph, description: Metadata, path: pathlib.Path) -> None:
    """Write a folder.

    Args:
        graph: traced within ``kernels``.
        description: goes to ``assets.extra/frcnn.json``.
        path: the new folder.

    ``assets.extra/sha256.txt`` lists the digests of all files.
    """
    graph.save(path, SIGNATURE)
    file = path / DESCRIPTION
    file.parent.mkdir(exist_ok=True)
    file.write_text(metadata.to_text(description), encoding="utf-8")
    files = [file for file in path.rglob("*") if file.is_file()]
    (path / DIGESTS).write_text(digests.listed(path, files), encoding="utf-8")


def describes(path: pathlib.Path) -> bool:
    """Return whether a path is a SavedModel's folder."""
    return (path / "saved_model.pb").is_file()


def _is_whole(path: pathlib.Path) -> bool:
    """Return whether all files have the digests that ``write`` listed."""
    try:
        lines = (path / DIGESTS).read_text(encoding="utf-8", errors="replace").splitlines()
        return all(
            digests.of_file(path / name) == digest
            for digest, _, name in (line.partition("  ") for line in lines)
        )
    except (OSError, ValueError):  # ValueError: a name with a null byte
        return False


def open_file(path: pathlib.Path) -> tuple[Metadata, Run]:
    """Load a folder.

    Raises:
        WeightsError: it is damaged, or was not written by ``write``.
    """
    file = path / DESCRIPTION
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None
    description = metadata.from_text(text, path)
    if not _is_whole(path):
        raise digests.changed(path)
    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures[SIGNATURE]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{path} is not a whole SavedModel: {reason}") from error

    def run(images: np.ndarray, image_sizes: np.ndarray) -> list[np.ndarray]:
        # The function does not hold what it was loaded with.
        assert loaded is not None
        found = signature(**dict(zip(description.inputs, map(tf.constant, (images, image_sizes)))))
        return [found[name].numpy() for name in OUTPUTS]

    return description, run
