"""Weights from files into layers by name, with a report; our own weight files.

May import: everything up to models.
"""
