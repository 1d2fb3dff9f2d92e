"""Make a detector file from weights of torchvision or keras-frcnn: the same as ``frcnn import``."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from frcnn.cli.main import entry  # noqa: E402

if __name__ == "__main__":
    entry("import")
