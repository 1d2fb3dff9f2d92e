"""``frcnn inspect``: report on a data set before training."""

import argparse

from frcnn.cli.common import quiet_import, settings_of, take_folder
from frcnn.cli.options import PRECEDENCE, Parser, any_setting, setting
from frcnn.errors import ConfigError

# Command-line option -> the setting it changes.
OPTIONS = {
    "dataset": "data.dataset",
    "data_dir": "data.dir",
    "year": "data.year",
    "split": "data.train_split",
    "on_bad_data": "data.on_bad_data",
    "backbone": "model.backbone",
    "short_side": "data.short_side",
    "long_side": "data.long_side",
}
EXAMPLES = (
    "frcnn inspect my_images",
    "frcnn inspect my_images --split val --on-bad-data skip",
    "frcnn inspect --dataset voc --backbone resnet50_fpn --out voc_report",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; the options that were not given are None."""
    parser = Parser(
        "inspect",
        "Report on a data set before training: faults, sizes, and whether the anchors fit the boxes.",
        EXAMPLES,
        f"Ends with status 2 if there are faults, unless --on-bad-data is skip. {PRECEDENCE}",
    )
    parser.add_argument(
        "data", metavar="FOLDER", nargs="?", help="labelled images: a VOC folder or a VOC devkit"
    )
    setting(parser, "--dataset", "data.dataset", "voc or shapes; not with FOLDER")
    setting(parser, "--data-dir", "data.dir", "holds VOCdevkit/, or is a VOC folder; not with FOLDER")
    setting(parser, "--year", "data.year", "of the devkit: 2007, 2012 or 07+12")
    setting(parser, "--split", "data.train_split", "split to look at")
    setting(parser, "--on-bad-data", "data.on_bad_data", "error, or skip images with faults")
    setting(parser, "--backbone", "model.backbone", "its feature cells carry the anchors")
    setting(parser, "--short-side", "data.short_side", "of the resized image, pixels")
    setting(parser, "--long-side", "data.long_side", "of the resized image at most, pixels")
    parser.add_argument(
        "--images", type=int, default=16, help="how many images to draw boxes on (default: 16)"
    )
    parser.add_argument(
        "--out", default="inspection", help="folder for report and pictures (default: inspection)"
    )
    any_setting(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Write the report, and return the exit status."""
    arguments = parse(argv)
    found = take_folder(arguments, OPTIONS, arguments.split)
    settings = settings_of(arguments, OPTIONS)
    if arguments.images < 0:
        raise ConfigError(f"--images must not be below 0, but is {arguments.images}")

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.inspection import inspector

    print(*found, settings.summary(), sep="\n")
    inspector.inspect(settings.config, arguments.out, arguments.images)
