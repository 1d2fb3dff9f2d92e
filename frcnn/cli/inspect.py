"""``frcnn inspect``: report on a data set before training."""

import argparse

from frcnn.cli.common import quiet_import, settings_of, take_folder
from frcnn.cli.options import PRECEDENCE, Parser, any_setting, data_settings, setting
from frcnn.config.short_names import some
from frcnn.errors import ConfigError
from frcnn.text import echo

# Command-line option -> the setting it changes.
_NAMES = ("dataset", "data_dir", "year", "format", "on_bad_data", "backbone", "short_side", "long_side")
OPTIONS = some(*_NAMES, "val_split") | {"split": "data.train_split"}
EXAMPLES = (
    "frcnn inspect my_images",
    "frcnn inspect --dataset voc --backbone resnet50_fpn --out voc_report",
    "frcnn inspect my_images --augmented --set augment.crop=0.5 --set augment.colour=0.4",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; the options that were not given are None."""
    parser = Parser(
        "inspect",
        "Report on a data set before training: faults, sizes, and whether the anchors fit the boxes.",
        EXAMPLES,
        f"The exit status is 2 if there are faults, unless --on-bad-data is skip. {PRECEDENCE}",
    )
    data_settings(
        parser.add_argument_group("data"),
        [
            ("--split", "data.train_split", "split to report on"),
            (
                "--val-split",
                "data.val_split",
                "split to compare it with: images in both, missing classes",
            ),
        ],
    )
    network = parser.add_argument_group("network input and anchors")
    setting(network, "--backbone", "model.backbone", "backbone; the anchors lie on its feature cells")
    setting(network, "--short-side", "data.short_side", "short side of the resized image, pixels")
    setting(network, "--long-side", "data.long_side", "longest long side of a resized image, pixels")
    report = parser.add_argument_group("report")
    report.add_argument(
        "--images",
        type=int,
        default=16,
        metavar="N",
        help="number of images that are drawn with their boxes (default: 16)",
    )
    report.add_argument(
        "--out",
        default="inspection",
        metavar="DIR",
        help="folder for report and pictures (default: inspection, in the current folder)",
    )
    report.add_argument(
        "--augmented",
        type=int,
        nargs="?",
        const=4,
        default=0,
        metavar="N",
        help="draw N versions of each image as training augments it (augment.*, data.flip) "
        "(default: off; 4 without N)",
    )
    any_setting(parser.add_argument_group("settings"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Write the report."""
    arguments = parse(argv)
    # The user may name one split only; recognise() needs both.
    take_folder(arguments, OPTIONS, arguments.split, arguments.val_split or arguments.split)
    settings = settings_of(arguments, OPTIONS)
    if arguments.images < 0:
        raise ConfigError(f"--images must not be below 0, but is {arguments.images}")
    if not 0 <= arguments.augmented <= 100:
        raise ConfigError(f"--augmented must be from 0 to 100, but is {arguments.augmented}")

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.inspection import inspector

    echo(settings.summary())
    inspector.inspect(settings.config, arguments.out, arguments.images, arguments.augmented)
