"""Score a trained run or a saved detector on labelled images: ``python scripts/evaluate.py RUN``."""

import argparse
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn.cli.common import (
    quiet_import,  # noqa: E402
    run,  # noqa: E402
)
from frcnn.config import (
    precedence,  # noqa: E402
    presets,  # noqa: E402
)
from frcnn.evaluation import coco_ap  # noqa: E402
from frcnn.files import outputs  # noqa: E402

# Command-line option -> the setting it changes.
OPTIONS = {
    "dataset": "data.dataset",
    "data_dir": "data.dir",
    "year": "data.year",
    "split": "data.val_split",
    "on_bad_data": "data.on_bad_data",
    "batch_size": "data.batch_size",
}


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="What no option says is as the run's validation had it, and then so is the mAP.",
    )
    parser.add_argument(
        "run", metavar="RUN_OR_FILE", help="folder that train.py wrote, or a detector's file"
    )
    parser.add_argument("--weights", help="file in RUN (best.weights.h5)")
    parser.add_argument("--dataset", help="voc or shapes")
    parser.add_argument("--data-dir", help="holds VOCdevkit/, or is a VOC folder")
    parser.add_argument("--year", help="of the devkit: 2007, 2012 or 07+12")
    parser.add_argument("--split", help="such as test")
    parser.add_argument("--on-bad-data", help="error, or skip images with faults")
    parser.add_argument("--batch-size", help="images a batch; it changes padding, and so a little")
    parser.add_argument(
        "--metric", choices=["voc07", "voc12", "coco"], help="11-point AP, all-point AP, or COCO's"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to this new file, too")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    return parser.parse_args(argv)


def make_config(config, arguments):
    """Return the detector's config with the options put over it, and notes about what they leave out.

    A config's year and splits say nothing about other data than its own (``frcnn.config.precedence``).
    """
    options = {key: getattr(arguments, name) for name, key in OPTIONS.items()}
    changes = {key: value for key, value in options.items() if value is not None}
    keys = ("data.dataset", "data.dir", "data.year", "data.val_split")
    own = {key: config.get(key) for key in keys}
    kept, notes = precedence.drop_other_data(own, changes, arguments.run)
    of_dataset = presets.preset(changes.get("data.dataset", own["data.dataset"]))
    dropped = {key: of_dataset.get(key) for key in keys if key not in kept}
    return config.replace(dropped | kept | changes), notes


def main(argv=None):
    arguments = parse(argv)
    # Now, and not after an hour of detection.
    out = outputs.new_file(arguments.json, arguments.overwrite) if arguments.json else None
    if arguments.metric == "coco":
        coco_ap.import_pycocotools()

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import backend
        from frcnn.data import build
        from frcnn.detector import Detector
        from frcnn.evaluation import evaluator

    print(f"device: {backend.prepare_device()}")
    detector = Detector.load(arguments.run, arguments.weights)
    config, notes = make_config(detector.config, arguments)
    print(*notes, sep="\n", end="\n" if notes else "")
    dataset = build.load_split(
        config.data,
        config.data.val_split,
        detector.classes,
        advice="the detector knows no such class: correct the class names",
    )
    print(f"data: {build.folder(config.data)}: {dataset.summary()}")
    detection = config.detection
    names = {interpolation: name for name, interpolation in evaluator.METRICS.items()}
    metric = arguments.metric or names[evaluator.ap_interpolation(detection, dataset)]
    skipped = [(dataset.name, *entry) for entry in dataset.skipped]
    found, truths = evaluator.detect(detector, dataset, config.data, lambda *row: skipped.append(row))
    scores = evaluator.score(found, truths, detector.classes, metric, detection.ap_iou)
    print(scores.table)
    for row in skipped:
        print("left out:", *row[1:])
    if out:
        values = {"detector": str(arguments.run), "dataset": dataset.name} | scores.values
        values["skipped"] = [{"image": image, "fault": fault} for _, image, fault in skipped]
        with outputs.writing(out):
            out.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        print(f"written to {out}")


if __name__ == "__main__":
    run(main)
