"""Look at a data set before training, and draw boxes on images.

May import: everything up to evaluation.
"""
