"""Evaluation of a detector on a labelled data set: VOC AP and COCO AP.

May import: everything up to runs.
"""
