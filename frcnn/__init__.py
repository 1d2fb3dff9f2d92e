"""Faster R-CNN in Keras 3: two sub-models on one shared backbone, and the trainer for them."""

import importlib

__version__ = "0.1.0"

_WHERE = {
    "Detector": ("frcnn.detector", "Detector"),
    "build_pretrained": ("frcnn.weights.pretrained", "build"),
    "import_torchvision": ("frcnn.convert.torchvision", "import_torchvision"),
}
__all__ = [*_WHERE]


def __getattr__(name):
    # Imported when asked for: a command line's --help need not wait for Keras.
    if name in _WHERE:
        module, attribute = _WHERE[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'frcnn' has no attribute {name!r}")
