"""The run directory: lock, checkpoints, run state, metrics.csv and what else a run writes; signals.

May import: everything up to logging.
"""
