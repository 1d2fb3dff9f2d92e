"""Report on a data set before training: ``python scripts/inspect_data.py --data-dir my_images``."""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn.cli.common import (
    PRECEDENCE,  # noqa: E402
    quiet_import,  # noqa: E402
    run,  # noqa: E402
    settings_of,  # noqa: E402
)
from frcnn.config import presets  # noqa: E402
from frcnn.errors import ConfigError  # noqa: E402

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


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Ends with status 2 if there are faults, and --on-bad-data is not skip. " + PRECEDENCE,
    )
    parser.add_argument("--dataset", help=f"{' or '.join(presets.PRESETS)} (default voc)")
    parser.add_argument(
        "--data-dir", help="holds VOCdevkit/, or is a VOC folder with any classes (data)"
    )
    parser.add_argument("--year", help="of the devkit: 2007, 2012 or 07+12 (2007)")
    parser.add_argument("--split", help="what train.py calls --train-split")
    parser.add_argument("--on-bad-data", help="error, or skip images with faults and list them")
    parser.add_argument("--backbone", help="whose feature cells the anchors stand on")
    parser.add_argument("--short-side", help="of the resized image, pixels (600)")
    parser.add_argument("--long-side", help="at most, pixels (1000)")
    parser.add_argument("--images", type=int, default=16, help="how many to draw boxes on (16)")
    parser.add_argument(
        "--out", default="inspection", help="folder for report and pictures (inspection)"
    )
    parser.add_argument("--config", help="JSON file with settings, such as a run's config.json")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    return parser.parse_args(argv)


def main(argv=None):
    arguments = parse(argv)
    settings = settings_of(arguments, OPTIONS)
    if arguments.images < 0:
        raise ConfigError(f"--images must not be below 0, but is {arguments.images}")

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.inspection import inspector

    print(settings.summary())
    inspector.inspect(settings.config, arguments.out, arguments.images)


if __name__ == "__main__":
    run(main)
