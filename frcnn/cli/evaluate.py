"""``frcnn evaluate``: score a trained detector on labelled images."""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser, detection_setting
from frcnn.config import Config, precedence, presets
from frcnn.config.schema import typed
from frcnn.config.sections import FORMATS
from frcnn.config.short_names import some
from frcnn.config.text_format import parse_assignments
from frcnn.config.text_format import shown as shown_value
from frcnn.files import outputs
from frcnn.runs import metrics_csv, run_directory
from frcnn.text import echo

# Command-line option -> the setting it changes.
OPTIONS = some("dataset", "data_dir", "year", "format", "on_bad_data", "batch_size") | {
    "split": "data.val_split"
}
EXAMPLES = (
    "frcnn evaluate runs/my_images-vgg16-20260101-120000",
    "frcnn evaluate RUN --metric coco --json scores.json",
    "frcnn evaluate detector.h5 --data-dir other_images --split test --report report.html",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; the options that were not given are None."""
    parser = Parser(
        "evaluate",
        "Score a trained detector on labelled images.",
        EXAMPLES,
        "Without options it repeats the run's validation, with the same mAP, unless the run has "
        "detection.flip or detection.short_sides, which a validation leaves out.",
    )
    parser.add_argument("run", metavar="RUN_OR_FILE", help="run directory, or the file of a detector")
    parser.add_argument("--weights", metavar="FILE", help="file in RUN (default: best.weights.h5)")
    data = parser.add_argument_group("data")
    for flag, metavar, text in (
        ("--dataset", "NAME", "voc: labelled images of any format in --data-dir; shapes: drawn images"),
        ("--data-dir", "DIR", "folder of labelled images, or a folder with VOCdevkit in it"),
        ("--format", "NAME", f"format of the labels: {', '.join(FORMATS)}"),
        ("--year", "NAME", "year of the VOC devkit: 2007, 2012 or 07+12"),
        ("--split", "NAME", "split to score on, such as test"),
        ("--on-bad-data", "NAME", "error; skip: skip and list images with faults"),
        ("--batch-size", "N", "images per batch; it changes the padding, and so the last digits"),
    ):
        data.add_argument(flag, metavar=metavar, help=f"{text} (default: as in the run)")
    detection_setting(data)
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--metric",
        choices=["voc07", "voc12", "coco", "oriented"],
        help="11-point AP, all-point AP, COCO's AP, or all-point AP with the IoU of oriented boxes "
        "(default: voc07 or voc12, by the data set's year; oriented for a detector of oriented boxes)",
    )
    scores.add_argument(
        "--json", metavar="OUT", help="also write the numbers to this new file (default: none)"
    )
    scores.add_argument(
        "--report",
        metavar="OUT.html",
        help="also write a page with curves, each mistake with its picture, and probable label errors "
        "(default: none)",
    )
    scores.add_argument(
        "--overwrite", action="store_true", help="replace these files if they exist (default: off)"
    )
    return parser.parse_args(argv)


def make_config(config: Config, arguments: argparse.Namespace) -> tuple[Config, list[str]]:
    """Return the detector's config, changed by the options, and notes about what they override.

    A config's year and splits are dropped if an option names other data (``frcnn.config.precedence``).
    """
    options = {key: getattr(arguments, name) for name, key in OPTIONS.items()}
    changes = {key: value for key, value in options.items() if value is not None}
    names = ("dataset", "dir", "year", "format", "val_split")
    keys = tuple(f"data.{name}" for name in names)
    own = {key: config.get(key) for key in keys}
    if own["data.dataset"] == "python" and "data.dir" in changes and "data.dataset" not in changes:
        # The run's data were Python objects, so its config has no folder, format or split.
        from frcnn.data.recognise import recognise

        split, form = changes.get("data.val_split"), changes.get("data.format", "auto")
        found, _ = recognise(changes["data.dir"], split, split, form)
        changes = {key: found[key] for key in keys if key in found} | changes
    kept, notes = precedence.drop_other_data(own, changes, arguments.run)
    of_dataset = presets.preset(changes.get("data.dataset", own["data.dataset"]))
    dropped = {key: of_dataset.get(key) for key in keys if key not in kept}
    return config.replace(dropped | kept | changes), notes


def main(argv: list[str] | None = None) -> None:
    """Detect, score and print the table."""
    arguments = parse(argv)
    settings = typed(parse_assignments(arguments.set))
    # Checked now, and not after an hour of detection.
    out, page = (
        outputs.new_file(path, arguments.overwrite) if path else None
        for path in (arguments.json, arguments.report)
    )
    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import backend
        from frcnn.data import build
        from frcnn.detector import Detector
        from frcnn.evaluation import analysis, coco_ap, evaluator, label_errors, voc_ap
        from frcnn.report import evaluation_page

    if arguments.metric == "coco":
        coco_ap.import_pycocotools()
    device = backend.prepare_device()
    print(f"device: {device}")
    detector = Detector.load(arguments.run, arguments.weights, settings)
    config, notes = make_config(detector.config, arguments)
    for note in notes:
        echo(note)
    dataset = build.load_split(
        config.data,
        config.data.val_split,
        detector.classes,
        advice="the detector has no such class: correct the class names",
    )
    echo(f"data: {build.folder(config.data)}: {dataset.summary()}")
    detection = config.detection
    metric = arguments.metric or evaluator.default_metric(config, dataset)
    skipped = [(dataset.name, *entry) for entry in dataset.skipped]
    samples, label_scores, speed = [], [], analysis.Speed()

    def keep(batch, seconds):
        samples.extend(batch.samples)
        speed.add(len(batch.samples), seconds)
        label_scores.extend(evaluator.classify_labels(detector, batch) or [])

    found, truths = evaluator.detect(
        detector, dataset, config.data, lambda *row: skipped.append(row), keep
    )
    scores = evaluator.score(found, truths, detector.classes, metric, detection.ap_iou)
    echo(scores.table)
    if metric == "oriented":  # from here on, the boxes of labels and detections are the oriented ones
        found, truths = ([*map(voc_ap.with_oriented_boxes, own)] for own in (found, truths))
        samples = [dataclasses.replace(one, boxes=one.boxes_of("oriented")) for one in samples]
    interpolation = evaluator.METRICS[metric] or "all-point"
    analysed = analysis.analyse(
        found, truths, len(detector.classes), detection.ap_iou, interpolation, label_scores or None
    )
    echo(f"\n{analysis.format_tables(analysed)}")
    for row in skipped:
        echo(f"skipped: {row[1]} {row[2]}")
    values: dict[str, Any] = {"detector": str(arguments.run), "dataset": dataset.name}
    values |= {"split": config.data.val_split} | scores.values
    values |= {"analysis": analysed.values(), "speed": speed.values()}
    values["label_errors"] = label_errors.listed(
        analysed.label_errors, [sample.name for sample in samples], found, truths, detector.classes
    )
    if pathlib.Path(arguments.run).is_dir():
        values["history"] = metrics_csv.read_numbers(pathlib.Path(arguments.run, run_directory.METRICS))
    values["skipped"] = [{"image": image, "fault": fault} for _, image, fault in skipped]
    if out:
        with outputs.writing(out):
            out.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        echo(f"written to {out}")
    if page:
        facts = {
            "metric": metric,
            "device": device,
            "data": build.folder(config.data),
            "split": config.data.val_split,
            "backbone": config.model.backbone,
            "batch size": config.data.batch_size,
            "short side, long side": f"{config.data.short_side}, {config.data.long_side}",
            "score threshold": detection.score_threshold,
            "NMS IoU": detection.nms_iou,
        } | {key: shown_value(value) for key, value in settings.items()}
        evaluation_page.write(
            page,
            evaluation_page.Evaluation(
                values, scores.table, analysed, detector.classes, samples, found, facts
            ),
        )
        echo(f"written to {page}")
