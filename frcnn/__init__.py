"""Faster R-CNN in Keras 3: two sub-models on one shared backbone, and the trainer for them.

The public names are below; each is imported when it is first used, so ``import frcnn`` is quick. The
packages import downwards only, in the order that ``docs/architecture.md`` gives.
"""

import importlib
import os
import platform
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# TensorFlow reads this when it is imported. By itself it leaves oneDNN off on processors without AVX-512
# VNNI, where a step takes twice as long without it (docs/notes/benchmarks.md).
if platform.machine().lower() in ("x86_64", "amd64") and "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from frcnn import logging
    from frcnn.api import TrainResult, load_dataset, train
    from frcnn.config import Config
    from frcnn.convert.keras_frcnn import import_keras_frcnn
    from frcnn.convert.torchvision import import_torchvision
    from frcnn.data.records import dataset_from
    from frcnn.data.sample import Dataset, Sample
    from frcnn.data.tfds import dataset_from_tfds
    from frcnn.detector import Detector
    from frcnn.errors import FrcnnError
    from frcnn.models.faster_rcnn import FasterRCNN
    from frcnn.training.compile import compile_sub_models
    from frcnn.training.trainer import Trainer
    from frcnn.weights.pretrained import build as build_pretrained

# Public name -> the module that defines it, and its name there.
_WHERE = {
    "Config": ("frcnn.config", "Config"),
    "Dataset": ("frcnn.data.sample", "Dataset"),
    "Detector": ("frcnn.detector", "Detector"),
    "FasterRCNN": ("frcnn.models.faster_rcnn", "FasterRCNN"),
    "FrcnnError": ("frcnn.errors", "FrcnnError"),
    "Sample": ("frcnn.data.sample", "Sample"),
    "TrainResult": ("frcnn.api", "TrainResult"),
    "Trainer": ("frcnn.training.trainer", "Trainer"),
    "build_pretrained": ("frcnn.weights.pretrained", "build"),
    "compile_sub_models": ("frcnn.training.compile", "compile_sub_models"),
    "dataset_from": ("frcnn.data.records", "dataset_from"),
    "dataset_from_tfds": ("frcnn.data.tfds", "dataset_from_tfds"),
    "import_keras_frcnn": ("frcnn.convert.keras_frcnn", "import_keras_frcnn"),
    "import_torchvision": ("frcnn.convert.torchvision", "import_torchvision"),
    "load_dataset": ("frcnn.api", "load_dataset"),
    "logging": ("frcnn.logging", None),
    "train": ("frcnn.api", "train"),
}
__all__ = [
    "Config",
    "Dataset",
    "Detector",
    "FasterRCNN",
    "FrcnnError",
    "Sample",
    "TrainResult",
    "Trainer",
    "build_pretrained",
    "compile_sub_models",
    "dataset_from",
    "dataset_from_tfds",
    "import_keras_frcnn",
    "import_torchvision",
    "load_dataset",
    "logging",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``--help`` need not wait for Keras."""
    if name not in _WHERE:
        raise AttributeError(f"module 'frcnn' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
