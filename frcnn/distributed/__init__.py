"""Several processes that train together: find each other, start them, end them.

May import: everything up to inspection.
"""
