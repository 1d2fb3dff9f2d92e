"""The run directory: lock, checkpoints, run state, metrics.csv and the other files of a run; signals.

May import: everything up to logging.
"""
