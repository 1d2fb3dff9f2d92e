"""The versions of the code that computes a step, to compare them between processes."""

from __future__ import annotations

import hashlib
import pathlib
import platform
from collections.abc import Iterable

import keras
import numpy as np

from frcnn import backend


def code_versions() -> dict[str, str]:
    """Return the versions of Python, Keras, numpy and TensorFlow, and a digest of frcnn's source."""
    versions = {"Python": platform.python_version(), "keras": keras.__version__, "numpy": np.__version__}
    if backend.IS_TENSORFLOW:
        import tensorflow as tf

        versions["tensorflow"] = tf.__version__
    package = pathlib.Path(__file__).parents[1]
    texts: list[str] = []
    for path in sorted(package.rglob("*.py")):
        texts += [path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")]
    return versions | {"source of frcnn": digest(texts)}


def digest(value: str | Iterable[str | np.ndarray]) -> str:
    """Return a short text itself, and 12 hexadecimal digits of a hash of anything else.

    Args:
        value: text, or a list of texts and arrays.
    """
    if isinstance(value, str) and len(value) <= 20:
        return value
    sha256 = hashlib.sha256()
    for part in [value] if isinstance(value, str) else value:
        sha256.update(part.encode("utf-8", "replace") if isinstance(part, str) else part.tobytes())
    return sha256.hexdigest()[:12]
