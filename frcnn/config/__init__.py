"""Every setting of a run: the schema, presets, where a value comes from, JSON in and out.

May import: errors, text, files.
"""

from frcnn.config.schema import Config

__all__ = ["Config"]
