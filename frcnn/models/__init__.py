"""The network: Faster R-CNN and the backbones, pyramids and heads that it is made of.

May import: errors, text, backend, ops, config, layers.
"""
