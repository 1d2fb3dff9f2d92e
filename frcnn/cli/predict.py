"""``frcnn predict``: detect objects in images, folders, videos and cameras, and write the results."""

import argparse
import pathlib
import signal
import sys
from typing import Any

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser, detection_setting
from frcnn.config.schema import typed
from frcnn.config.text_format import parse_assignments
from frcnn.errors import ConfigError
from frcnn.files import outputs
from frcnn.runs import signals
from frcnn.text import echo

EXAMPLES = (
    "frcnn predict RUN photo.jpg clip.mp4 --score 0.7",
    "frcnn predict RUN 'photos/**/*.jpg' --save drawn,voc,csv --out results --batch-size 8",
    "frcnn predict detector.h5 aerial.tif --tile 1024 --overlap 0.2 --classes car,truck",
)
# Option -> the setting that it changes.
SETTINGS = {
    "--score": "detection.score_threshold",
    "--nms-iou": "detection.nms_iou",
    "--max-detections": "detection.max_detections",
    "--classes": "detection.classes",
}
DEFAULT_SCORE = 0.5


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "predict",
        "Detect objects in images, videos and cameras; draw them or write them down.",
        EXAMPLES,
        "If a source cannot be read, the others are still done, and the exit status is 1. Pictures of "
        "an earlier frcnn predict of the same images are replaced, other files are not. Ctrl-C ends a "
        "camera; the files are complete.",
    )
    parser.add_argument("run", metavar="RUN_OR_FILE", help="run directory, or the file of a detector")
    parser.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="+",
        help="image or video file; folder, whose subfolders are not read; pattern in quotes, such as "
        "'photos/**/*.jpg'; camera:0",
    )
    parser.add_argument("--weights", metavar="FILE", help="file in RUN (default: best.weights.h5)")
    found = parser.add_argument_group("what is detected")
    for flag, metavar, text in (
        (
            "--score",
            "X",
            "keep detections with a score above X (default: 0.5, or the score threshold of an exported "
            "file if that is higher)",
        ),
        ("--nms-iou", "X", "IoU above which NMS removes a box of the same class (default: the run's)"),
        ("--max-detections", "N", "largest number of detections per image (default: the run's)"),
        ("--classes", "A,B", "names of the classes to detect (default: all)"),
    ):
        found.add_argument(flag, metavar=metavar, help=text)
    detection_setting(found)
    found.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="cut larger images into tiles of N x N pixels, to find small objects (default: off)",
    )
    found.add_argument(
        "--overlap",
        type=float,
        default=0.2,
        metavar="X",
        help="share of a tile that it has in common with its neighbour (default: 0.2)",
    )
    found.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images per batch (default: 1)"
    )
    found.add_argument(
        "--max-frames", type=int, metavar="N", help="most frames per video or camera (default: all)"
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--save",
        default="drawn",
        metavar="A,B",
        help="formats of the results: drawn (pictures, videos), jsonl, csv, coco, voc, yolo "
        "(default: drawn)",
    )
    results.add_argument(
        "--out", metavar="DIR", help="folder for results (default: predictions, in RUN or beside FILE)"
    )
    results.add_argument(
        "--coco-ids",
        metavar="JSON",
        help="COCO file; --save coco uses its ids of images and categories (default: from 1)",
    )
    results.add_argument(
        "--overwrite", action="store_true", help="replace results of an earlier command (default: off)"
    )
    return parser.parse_args(argv)


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return {setting: value} of the options that change what is detected.

    Raises:
        ConfigError: a value does not fit; the message names the option.
    """
    given = {flag: getattr(arguments, flag[2:].replace("-", "_")) for flag in SETTINGS}
    given_keys = {SETTINGS[flag]: text for flag, text in given.items() if text is not None}
    assigned = typed(parse_assignments(arguments.set))  # here the message has the setting's own name
    try:
        return typed(given_keys) | assigned
    except ConfigError as error:
        message = str(error)
        for flag, key in SETTINGS.items():
            message = message.replace(key, flag)
        raise ConfigError(message) from error


def check(arguments: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for options that do not fit together or have impossible values."""
    for name in ("batch_size", "max_frames"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} must be 1 or more, not {value}")
    if arguments.coco_ids and "coco" not in arguments.save:
        raise ConfigError("--coco-ids needs --save coco")


def main(argv: list[str] | None = None) -> int | None:
    """Predict, write the results and return the exit status."""
    arguments = parse(argv)
    settings = settings_of(arguments)
    check(arguments)
    run_dir = pathlib.Path(arguments.run)
    run_dir = run_dir if run_dir.is_dir() else run_dir.parent
    out = pathlib.Path(arguments.out or run_dir / "predictions")

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import backend
        from frcnn.detector import Detector
        from frcnn.ops import tiles
        from frcnn.prediction import make_sinks, run, sinks, sources

    formats = sinks.formats_of(arguments.save)
    sinks.check(out, formats, arguments.overwrite)
    if arguments.tile is not None:
        tiles.windows(1, 1, arguments.tile, arguments.overlap)
    found = sources.find(arguments.sources)
    backend.prepare_device()
    detector = Detector.load(arguments.run, arguments.weights, settings, DEFAULT_SCORE)
    outputs.new_folder(out)
    with signals.StopSignals() as asked:
        asked.can_save = True
        taken = make_sinks.make(
            formats,
            out,
            detector.classes,
            found,
            arguments.coco_ids,
            arguments.overwrite,
            detector.config.box.kind == "oriented",
        )
        summary = run.predict(
            detector,
            found,
            taken,
            batch_size=arguments.batch_size,
            tile=arguments.tile,
            overlap=arguments.overlap,
            max_frames=arguments.max_frames,
            report=echo,
            stop=lambda: asked.signal is not None,
        )
    echo(f"{summary} -> {out}")
    for error in summary.faults:
        echo(f"skipped: {error}", sys.stderr)
    if summary.stopped and asked.signal:
        echo(f"stopped by {asked.signal}: the files hold what was found up to here", sys.stderr)
        return 128 + signal.Signals[asked.signal]
    return int(bool(summary.faults))
