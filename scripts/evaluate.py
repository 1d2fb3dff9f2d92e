"""Score a detector on labelled images: the same as ``frcnn evaluate``."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from frcnn.cli.main import entry  # noqa: E402

if __name__ == "__main__":
    entry("evaluate")
