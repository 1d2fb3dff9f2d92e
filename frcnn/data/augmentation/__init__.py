"""Random changes of training images, one concept per file. ``augmenter`` applies them in order.

May import: errors, text, rng, files, ops, config, data.
"""
