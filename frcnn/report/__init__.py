"""Pages to look at in a browser: one HTML file each, which loads nothing from elsewhere.

May import: everything up to inspection.
"""
