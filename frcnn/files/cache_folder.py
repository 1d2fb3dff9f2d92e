"""The cache folder, for results that can be computed again: measurements, and labels that were read."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the first that is set: ``$FRCNN_CACHE``, ``$XDG_CACHE_HOME/frcnn``, ``~/.cache/frcnn``.

    The folder may not exist. ``FRCNN_CACHE=/dev/null`` turns the cache off.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("FRCNN_CACHE") or Path(base, "frcnn"))
