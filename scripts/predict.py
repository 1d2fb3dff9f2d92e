"""Detect objects with a trained detector and draw them: ``scripts/predict.py RUN_OR_FILE IMAGE...``."""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn.cli import run  # noqa: E402


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "run", metavar="RUN_OR_FILE", help="folder that train.py wrote, or a detector's file"
    )
    parser.add_argument("images", metavar="IMAGE", nargs="+")
    parser.add_argument("--weights", help="file in RUN (best.weights.h5)")
    parser.add_argument(
        "--score", type=float, default=0.5, help="show detections from this score on (0.5)"
    )
    parser.add_argument("--out", help="folder for the drawn images (predictions, in RUN or beside FILE)")
    arguments = parser.parse_args(argv)

    from frcnn.data.augment import load  # OpenCV and TensorFlow: not for --help
    from frcnn.detector import Detector
    from frcnn.draw import draw

    detector = Detector.load(arguments.run, arguments.weights)
    run_dir = pathlib.Path(arguments.run)
    run_dir = run_dir if run_dir.is_dir() else run_dir.parent
    out = pathlib.Path(arguments.out or run_dir / "predictions")
    out.mkdir(parents=True, exist_ok=True)
    for path in arguments.images:
        pixels = load(path)
        (found,) = detector.predict([pixels])
        shown = found["scores"] >= arguments.score
        boxes, scores, labels = found["boxes"][shown], found["scores"][shown], found["labels"][shown]
        drawn = out / f"{pathlib.Path(path).stem}.png"
        draw(pixels, boxes, labels, scores, detector.classes).save(drawn)
        print(f"{path} -> {drawn}")
        for box, score, label in zip(boxes, scores, labels):
            print(f"  {detector.classes[label]} {score:.2f} [{', '.join(f'{v:.0f}' for v in box)}]")


if __name__ == "__main__":
    run(main)
