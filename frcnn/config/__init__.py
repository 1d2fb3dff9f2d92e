"""Every setting of a run: the schema, presets, the precedence of their sources, JSON in and out.

May import: errors, text, files.
"""

from frcnn.config.schema import Config

__all__ = ["Config"]
