"""Files on disk: read untrusted files within limits, and write without losing what was there.

May import: errors, text.
"""
