"""Evaluation of a detector on a labelled data set: VOC AP, COCO AP, curves, mistakes, label errors.

May import: everything up to runs.
"""
