"""Functions that several test files use."""

import functools
import importlib
import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from frcnn.backend import IS_TENSORFLOW, compiled


@functools.cache
def at_once(function, **options):
    """Return ``function`` with some options set, compiled as a whole where the backend is JAX.

    Outside a compiled function JAX compiles every operation for every shape, which takes longer than all
    that is tested. TensorFlow runs it op by op, which shows faults where they are.
    """
    function = functools.partial(function, **options)
    return function if IS_TENSORFLOW else compiled(function)


def load_script(name):
    """Return ``scripts/benchmark.py``, or the module that another file of ``scripts/`` calls."""
    if name != "benchmark":
        return importlib.import_module(f"frcnn.cli.{name.removesuffix('_data')}")
    path = Path(__file__).resolve().parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def truth(boxes, labels=None, difficult=()):
    """Labelled boxes of one image, in the form that the metrics take."""
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "labels": np.zeros(len(boxes), int) if labels is None else np.array(labels),
        "difficult": np.isin(np.arange(len(boxes)), difficult),
    }


def found(boxes, scores=None, labels=None):
    """Detections of one image; without scores, from the best to the worst."""
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.linspace(0.9, 0.1, len(boxes)) if scores is None else np.array(scores),
        "labels": np.zeros(len(boxes), int) if labels is None else np.array(labels),
    }


def damage(path):
    """Replace an image by a PNG that is damaged in the middle, but not at its beginning and end."""
    with Image.open(path) as image:
        image.load()
    image.save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
