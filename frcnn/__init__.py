"""Faster R-CNN in Keras 3: two sub-models on one shared backbone, and the trainer for them."""

__version__ = "0.1.0"
