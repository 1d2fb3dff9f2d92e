"""Fetch a data set from its official address: ``python scripts/download.py voc2007 [voc2012]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frcnn.cli.common import run  # noqa: E402
from frcnn.data.download import (
    ARCHIVES,  # noqa: E402
    download,  # noqa: E402
)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+", choices=ARCHIVES, metavar="NAME", help=", ".join(ARCHIVES))
    parser.add_argument("--data-dir", default="data", help="folder to unpack to (default: data)")
    args = parser.parse_args(argv)
    for name in args.names:
        download(ARCHIVES[name], args.data_dir)
        folder = Path(args.data_dir) / ARCHIVES[name][0].folder
        print(f"{name} is in {folder}")


if __name__ == "__main__":
    run(main)
