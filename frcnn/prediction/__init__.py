"""Predicts on files, folders, videos and cameras, and writes results for other tools.

May import: all but distributed, training, api, cli.
"""
