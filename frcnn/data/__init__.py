"""Data sets: readers, transforms, the loader with its targets, faults and downloads.

May import: errors, text, rng, files, ops, config.
"""
