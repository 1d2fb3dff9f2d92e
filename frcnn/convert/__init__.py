"""Detectors that others trained, as ours: the same weights and settings give the same boxes.

May import: everything up to detector.
"""
