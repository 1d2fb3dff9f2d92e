"""The network: Faster R-CNN and its parts: backbones, feature pyramids, heads.

May import: errors, text, backend, ops, config, layers.
"""
