"""Random changes of training images: one concept per file; ``augmenter`` holds their order.

May import: errors, text, rng, files, ops, config, data.
"""
