"""Files on disk: read strangers' files within limits, write so that nothing is lost.

May import: errors, text.
"""
