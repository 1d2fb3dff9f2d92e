"""Training: schedules, their step models and losses, optimizers, the loop, and a run from a config.

May import: everything below cli.
"""
