"""``frcnn predict``: detect objects in images and draw them."""

import argparse
import pathlib
import sys

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser
from frcnn.errors import ConfigError, DataError
from frcnn.files import outputs
from frcnn.text import echo

EXAMPLES = (
    "frcnn predict runs/my_images-vgg16-20260101-120000 photo.jpg",
    "frcnn predict detector.h5 photos/*.jpg --score 0.8 --out drawn",
    "frcnn predict RUN photo.jpg --weights last.weights.h5",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "predict",
        "Detect objects in images and draw them.",
        EXAMPLES,
        "The exit status is 1 if an image could not be read. An image that was drawn before is drawn "
        "again; other files are not replaced.",
    )
    parser.add_argument("run", metavar="RUN_OR_FILE", help="run directory, or the file of a detector")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    parser.add_argument("--weights", metavar="FILE", help="file in RUN (default: best.weights.h5)")
    parser.add_argument(
        "--score",
        default="0.5",
        metavar="X",
        help="show detections with at least this score (default: 0.5)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for the drawn images (default: predictions, in RUN or beside FILE)",
    )
    return parser.parse_args(argv)


def score_of(text: str) -> float:
    """Return the number in an option's text."""
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1.0:  # NaN is not
        raise ConfigError(f"--score must be a number from 0 to 1, not {text}")
    return score


def main(argv: list[str] | None = None) -> int | None:
    """Draw the detections of each image, and return the exit status."""
    arguments = parse(argv)
    least = score_of(arguments.score)
    run_dir = pathlib.Path(arguments.run)
    run_dir = run_dir if run_dir.is_dir() else run_dir.parent
    out = pathlib.Path(arguments.out or run_dir / "predictions")
    outputs.check_folder(out)

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import backend
        from frcnn.data.transforms import load
        from frcnn.detector import Detector
        from frcnn.inspection.draw import draw

    backend.prepare_device()
    detector = Detector.load(arguments.run, arguments.weights)
    outputs.new_folder(out)
    failed, taken = [], set()
    for path in arguments.images:
        try:
            pixels = load(path)
        except DataError as error:
            echo(f"{path} skipped")
            failed.append(error)
            continue
        (found,) = detector.predict([pixels])
        shown = found["scores"] >= least
        boxes, scores, labels = found["boxes"][shown], found["scores"][shown], found["labels"][shown]
        picture = draw(pixels, boxes, labels, scores, detector.classes)
        drawn = outputs.save_picture(
            picture, out, pathlib.Path(path).stem, "frcnn predict", source=path, taken=taken
        )
        echo(f"{path} -> {drawn}")
        for box, score, label in zip(boxes, scores, labels):
            corners = ", ".join(f"{value:.0f}" for value in box)
            echo(f"  {detector.classes[label]} {score:.2f} [{corners}]")
    for error in failed:
        echo(f"skipped: {error}", sys.stderr)
    return int(bool(failed))
