"""``frcnn compare``: compare training runs."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser
from frcnn.errors import DataError
from frcnn.files import outputs
from frcnn.runs import comparison
from frcnn.text import echo

EXAMPLES = (
    "frcnn compare runs/a runs/b",
    "frcnn compare runs/a runs/b --images",
    "frcnn compare runs/a runs/b runs/c --report compared.html",
)
MAX_LISTED = 20  # images in the console; the page has more


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "compare",
        "Compare training runs: their scores, the settings that differ, curves and images.",
        EXAMPLES,
        "Without --images it reads only files of the runs, which takes seconds.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run directories, two or more")
    parser.add_argument(
        "--images",
        action="store_true",
        help="also run the detectors on the validation images of the first run, and list the images on "
        "which they differ (default: off)",
    )
    parser.add_argument(
        "--report",
        metavar="OUT.html",
        help="also write a page with the curves, and with --images the pictures (default: none)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace OUT if it exists (default: off)"
    )
    arguments = parser.parse_args(argv)
    if len(arguments.runs) < 2:
        parser.error("give two runs or more")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Print the tables, and write the page."""
    arguments = parse(argv)
    page = outputs.new_file(arguments.report, arguments.overwrite) if arguments.report else None
    runs = comparison.read_runs(arguments.runs)
    names = [run.name for run in runs]
    rows = [(name, [*map(comparison.written, values)]) for name, values in comparison.scores(runs)]
    echo(comparison.format_table("score", names, rows) if rows else "no run has finished an epoch")
    settings = comparison.changed_settings(runs)
    echo("")
    echo(comparison.format_table("setting", names, settings) if settings else "no setting differs")
    samples, differences = compare_images(runs) if arguments.images else ([], None)
    if differences is not None:
        listed = [
            (samples[image].name, [str(one) for one in outcomes])
            for image, outcomes in differences[:MAX_LISTED]
        ]
        echo("")
        echo(
            comparison.format_table("image", names, listed) if listed else "the runs differ on no image"
        )
        if len(differences) > MAX_LISTED:
            echo(f"... ({len(differences)} of {len(samples)} images in all)")
    if page:
        from frcnn.report import comparison_page

        comparison_page.write(page, runs, samples, differences)
        echo(f"written to {page}")


def compare_images(
    runs: Sequence[comparison.Run],
) -> tuple[list[Any], list[tuple[int, tuple[Any, ...]]]]:
    """Run each run's best weights on the validation images of the first run.

    Returns:
        The samples, and ``differences.differing_images`` of the detections.

    Raises:
        DataError: the runs have different classes, or not all of them could decode the same images.
    """
    with quiet_import():  # TensorFlow takes seconds to import, and only --images needs it
        from frcnn import backend
        from frcnn.data import build
        from frcnn.detector import Detector
        from frcnn.evaluation import differences, evaluator, voc_ap

    backend.prepare_device()
    data, classes = runs[0].config.data, runs[0].config.data.classes
    dataset = build.load_split(data, data.val_split, classes)
    echo(f"\nimages: {build.folder(data)}: {dataset.name}")
    detections: list[Any] = []
    samples: list[Any] = []
    for run in runs:
        seen: list[Any] = []

        def keep(batch: Any, seconds: float, kept: list[Any] = seen) -> None:
            kept.extend(batch.samples)

        found, truths = evaluator.detect(
            Detector.load(run.path),
            dataset,
            on_batch=keep,
        )
        if detections and [one.name for one in seen] != [one.name for one in samples]:
            raise DataError(f"{run.path} could not decode the images that {runs[0].path} could")
        detections.append(found)
        samples = seen
    if any(run.config.box.kind == "oriented" for run in runs):
        truths = [*map(voc_ap.with_oriented_boxes, truths)]
        detections = [[*map(voc_ap.with_oriented_boxes, found)] for found in detections]
        samples = [dataclasses.replace(one, boxes=one.boxes_of("oriented")) for one in samples]
    return samples, differences.differing_images(detections, truths)
