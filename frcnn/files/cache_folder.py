"""The folder for what can be made again: what was measured, and labels that were read."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$FRCNN_CACHE``, else ``$XDG_CACHE_HOME/frcnn``, else ``~/.cache/frcnn``.

    The folder need not exist. ``FRCNN_CACHE=/dev/null`` keeps nothing, as no folder can be made there.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("FRCNN_CACHE") or Path(base, "frcnn"))
