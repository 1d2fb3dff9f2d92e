"""Import of detectors of other libraries: with the same weights and settings they give the same boxes.

May import: everything up to detector.
"""
