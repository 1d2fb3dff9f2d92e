"""Training: the schedules, their step models, the loop, and from a config to a run.

May import: everything below cli.
"""
