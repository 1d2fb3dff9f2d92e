"""``frcnn download``: fetch PASCAL VOC from its official address."""

from pathlib import Path

from frcnn.cli.options import Parser
from frcnn.data.download import ARCHIVES, download
from frcnn.text import echo

EXAMPLES = (
    "frcnn download voc2007",
    "frcnn download voc2007 voc2012 --data-dir /datasets",
    "frcnn train --dataset voc --data-dir /datasets",
)


def main(argv: list[str] | None = None) -> None:
    """Fetch the archives one after another."""
    parser = Parser("download", "Fetch PASCAL VOC from its official address, and check it.", EXAMPLES)
    parser.add_argument("names", nargs="+", choices=ARCHIVES, metavar="NAME", help=", ".join(ARCHIVES))
    parser.add_argument(
        "--data-dir",
        default="data",
        metavar="DIR",
        help="folder to unpack to (default: data, in the current folder, where train looks)",
    )
    args = parser.parse_args(argv)
    for name in args.names:
        download(ARCHIVES[name], args.data_dir)
        folder = Path(args.data_dir) / ARCHIVES[name][0].folder
        echo(f"{name} is in {folder}")
