"""``python -m frcnn`` is the command ``frcnn``."""

from frcnn.cli.main import entry

if __name__ == "__main__":
    entry()
