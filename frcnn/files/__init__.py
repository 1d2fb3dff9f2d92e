"""Files on disk: read untrusted files within limits, and write files without losing the old content.

May import: errors, text.
"""
