"""A run's folder: the lock, checkpoints, run state, metrics.csv, signals, what is written when.

May import: everything up to logging.
"""
