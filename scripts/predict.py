"""Detect objects with a trained detector and draw them: ``scripts/predict.py RUN_OR_FILE IMAGE...``."""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn.cli.common import (
    quiet_import,  # noqa: E402
    run,  # noqa: E402
)
from frcnn.errors import (
    ConfigError,  # noqa: E402
    DataError,  # noqa: E402
)
from frcnn.files import outputs  # noqa: E402


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Ends with status 1 if an image could not be read. No file is written over, but for the "
        "drawn image that this command made of the same image before.",
    )
    parser.add_argument(
        "run", metavar="RUN_OR_FILE", help="folder that train.py wrote, or a detector's file"
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+")
    parser.add_argument("--weights", help="file in RUN (best.weights.h5)")
    parser.add_argument("--score", default="0.5", help="show detections from this score on (0.5)")
    parser.add_argument("--out", help="folder for the drawn images (predictions, in RUN or beside FILE)")
    return parser.parse_args(argv)


def score_of(text):
    """Return the score that an option says."""
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1.0:  # NaN is not
        raise ConfigError(f"--score must be a number from 0 to 1, not {text}")
    return score


def main(argv=None):
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
            print(f"{path} left out")
            failed.append(error)
            continue
        (found,) = detector.predict([pixels])
        shown = found["scores"] >= least
        boxes, scores, labels = found["boxes"][shown], found["scores"][shown], found["labels"][shown]
        picture = draw(pixels, boxes, labels, scores, detector.classes)
        drawn = outputs.save_picture(
            picture, out, pathlib.Path(path).stem, "frcnn predict", source=path, taken=taken
        )
        print(f"{path} -> {drawn}")
        for box, score, label in zip(boxes, scores, labels):
            print(f"  {detector.classes[label]} {score:.2f} [{', '.join(f'{v:.0f}' for v in box)}]")
    for error in failed:
        print(f"left out: {error}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    run(main)
