"""Reports on a data set before training, and drawing of boxes on images.

May import: everything up to evaluation.
"""
