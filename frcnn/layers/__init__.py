"""Keras layers: convolutions, RoIAlign and RoIPool, the sparse RPN head, proposals and detections.

May import: errors, files, backend, ops, config.
"""
