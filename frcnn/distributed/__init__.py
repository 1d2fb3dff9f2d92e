"""Processes that train together: starting them, joining them, and ending them together.

May import: everything up to inspection.
"""
