"""``frcnn convert``: write labelled images in another format; merge, divide and filter data sets."""

import argparse
from pathlib import Path

from frcnn.cli.options import Parser
from frcnn.config.sections import FORMATS
from frcnn.errors import ConfigError, DataError
from frcnn.text import echo, shown

TARGETS = ("voc", "coco", "yolo", "csv", "cvat", "dota", "labelme", "openimages")
EXAMPLES = (
    "frcnn convert my_images my_images_voc --to voc",
    "frcnn convert coco_folder people --to yolo --classes person,bicycle --images link",
    "frcnn convert first second both --to coco --rename Dog=dog --val-share 0.2",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "convert",
        "Write labelled images in another format; several folders become one.",
        EXAMPLES,
        "What the new format cannot store is counted and listed. Splits keep their names, in the usual "
        "form (train, val, test). No file is overwritten: DST must be new or empty.",
    )
    parser.add_argument("folders", metavar="SRC", nargs="+", help="folders of labelled images")
    parser.add_argument("out", metavar="DST", help="folder for the new data set, new or empty")
    parser.add_argument(
        "--to",
        required=True,
        choices=TARGETS,
        help=f"format: {', '.join(TARGETS)} (default: none, it must be given)",
    )
    parser.add_argument(
        "--images",
        choices=("copy", "link", "none"),
        default="copy",
        help="copy the images, link to them, or write labels only (default: copy)",
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--format",
        choices=FORMATS,
        default="auto",
        help=f"format of SRC: {', '.join(FORMATS)} (default: auto)",
    )
    data.add_argument("--year", metavar="NAME", help="year of VOC devkits (default: 2007, or else 2012)")
    data.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME[=NEW]",
        help="a split to convert, and its new name; may be repeated (default: all)",
    )
    data.add_argument(
        "--val-share",
        type=float,
        default=0.0,
        metavar="X",
        help="make new splits: this share of all images, chosen by a hash of their names, is val "
        "(default: 0)",
    )
    data.add_argument(
        "--test-share",
        type=float,
        default=0.0,
        metavar="X",
        help="the same for the split test (default: 0)",
    )
    data.add_argument(
        "--classes",
        metavar="A,B",
        help="keep only these classes, in this order; boxes of others are dropped and counted "
        "(default: all)",
    )
    data.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="rename a class; --classes has the new names; may be repeated (default: none)",
    )
    data.add_argument(
        "--on-bad-data",
        choices=("error", "skip", "clip"),
        default="error",
        help="error; skip: skip and list images with faults; clip: the same, but clip boxes that reach "
        "slightly outside their image (default: error)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Convert, and print what was written and what was not."""
    arguments = parse(argv)
    shares = {"val": arguments.val_share, "test": arguments.test_share}
    shares = {split: share for split, share in shares.items() if share}
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ConfigError(
            "--val-share and --test-share must be between 0 and 1, and less than 1 together"
        )

    from frcnn.data import conversion, faults, sources, voc_layout, write_dataset
    from frcnn.data.labels import Choice
    from frcnn.data.recognise import unknown_format

    out = write_dataset.check_new(arguments.out)
    for folder in arguments.folders:
        if Path(folder).resolve() in (out.resolve(), *out.resolve().parents):
            raise ConfigError(f"DST {shown(out)} must not be inside SRC {shown(folder)}")
    splits = dict(_pairs(arguments.split, "--split", optional=True))
    classes = tuple(arguments.classes.split(",")) if arguments.classes else None
    rename = dict(_pairs(arguments.rename, "--rename"))
    choice = Choice(classes, bool(classes), rename, arguments.on_bad_data == "clip")
    found = [sources.open_source(one, arguments.format, arguments.year) for one in arguments.folders]
    for source in found:
        unknown = arguments.format == "auto" and source.found is None and source.root.is_dir()
        if unknown and not voc_layout.is_voc_data(source.root):
            raise DataError(unknown_format(source.root))
        echo(f"data: {shown(source.root)} has labels in the format {source.format}")
    parts = conversion.parts_of(found, splits, arguments.to)
    datasets = faults.apply_policy(conversion.collect(parts, choice), arguments.on_bad_data)
    for dataset in datasets:
        echo(dataset.summary())
    converted, notes = conversion.combine(parts, datasets, choice, arguments.to, shares)
    write_dataset.write(converted, arguments.to, out, arguments.images)
    for dataset in datasets:
        for image, fault in dataset.skipped:
            echo(f"skipped: {image}: {fault}")
        for _, box in dataset.clipped:
            echo(f"clipped: {box}")
    for note in notes:
        echo(f"note: {note}")
    counts = ", ".join(
        f"{split} {len(images)} images, {sum(len(one.boxes) for _, one in images)} boxes"
        for split, images in converted.splits.items()
    )
    echo(f"written to {out} in the format {arguments.to}: {counts or 'no image'}")
    return None


def _pairs(texts: list[str], flag: str, optional: bool = False) -> list[tuple[str, str]]:
    """Return [(old, new)] of texts ``OLD=NEW``; if ``optional``, new is empty for ``OLD`` alone."""
    pairs = []
    for text in texts:
        old, equals, new = (part.strip() for part in text.partition("="))
        if not old or not (new or (optional and not equals)):
            raise ConfigError(
                f"{flag} {shown(text)} is not of the form {'NAME[=NEW]' if optional else 'OLD=NEW'}"
            )
        pairs.append((old, new))
    return pairs
