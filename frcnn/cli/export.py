"""``frcnn export``: write a detector for other runtimes, and check the file."""

import argparse
import dataclasses
import pathlib
import re

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser, detection_setting
from frcnn.config.schema import typed
from frcnn.config.text_format import parse_assignments
from frcnn.errors import ConfigError, DataError
from frcnn.files import outputs
from frcnn.text import echo, shown

EXAMPLES = (
    "frcnn export runs/my_images-vgg16-20260101-120000",
    "frcnn export detector.h5 --format litert --size 320x320 --weight-type int8 --images photos",
    "frcnn predict runs/.../detector.onnx photo.jpg",
)
AGREEMENT_IMAGES = 20
IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "export",
        "Write a detector as a file that other programs run, and compare the file with the detector.",
        EXAMPLES,
        "The file holds everything: preprocessing, network and suppression. It is compared on images of "
        "the run's validation split, and a table is printed and written to OUT.check.md. If the "
        "detections differ, the exit status is 3, and the file's name ends in .disagrees.",
    )
    parser.add_argument("run", metavar="RUN_OR_FILE", help="run directory, or the file of a detector")
    parser.add_argument("--weights", metavar="FILE", help="file in RUN (default: best.weights.h5)")
    parser.add_argument(
        "--format",
        choices=["saved_model", "onnx", "litert", "openvino"],
        default="onnx",
        help="saved_model, onnx, litert or openvino (default: onnx)",
    )
    parser.add_argument(
        "--out", metavar="OUT", help="the new file (default: detector.SUFFIX in RUN, or beside FILE)"
    )
    detection_setting(parser)
    shape = parser.add_argument_group("input")
    shape.add_argument(
        "--size",
        metavar="HxW",
        help="height and width of the input, pixels (default: the short and the long side of resized "
        "images)",
    )
    shape.add_argument(
        "--dynamic",
        action="store_true",
        help="leave height, width and batch open; for saved_model and onnx (default: off)",
    )
    shape.add_argument(
        "--resize",
        action="store_true",
        help="resize and pad inside the file, which then takes images of any size (default: off)",
    )
    parser.add_argument(
        "--weight-type",
        choices=["float32", "float16", "int8"],
        default="float32",
        help="float32, float16 or int8: how weights are stored (default: float32)",
    )
    checks = parser.add_argument_group("check")
    checks.add_argument(
        "--images", metavar="FOLDER", help="compare on these images instead, without AP (default: none)"
    )
    checks.add_argument(
        "--check-images",
        metavar="N",
        default="0",
        help=f"images for AP, of which the first {AGREEMENT_IMAGES} are for boxes; 0: all (default: 0)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier export (default: off)"
    )
    return parser.parse_args(argv)


def size_of(text: str | None) -> tuple[int, int] | None:
    """Return the height and width in an option's text."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise ConfigError(f"--size is HEIGHTxWIDTH in pixels, such as 608x1024, not {shown(text)}")
    height, width = text.split("x")
    return int(height), int(width)


def count_of(text: str) -> int:
    """Return the number of images in an option's text."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"--check-images is a number of images, 0 for all, not {shown(text)}")
    return int(text)


def images_in(folder: str) -> list[str]:
    """Return the image files of a folder, in the order of their names."""
    try:
        files = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from error
    found = [str(file) for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    if not found:
        raise DataError(f"there is no image in {folder}")
    return found


def main(argv: list[str] | None = None) -> int | None:
    """Export, check, print the table, and return the exit status."""
    arguments = parse(argv)
    size, count = size_of(arguments.size), count_of(arguments.check_images)
    settings = typed(parse_assignments(arguments.set))
    run = pathlib.Path(arguments.run)
    paths = images_in(arguments.images) if arguments.images else []

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import backend
        from frcnn.data import build
        from frcnn.detector import Detector
        from frcnn.export import exporter
        from frcnn.export.formats import FORMATS

    suffix = FORMATS[arguments.format].suffix
    out = pathlib.Path(arguments.out or (run / "detector" if run.is_dir() else run).with_suffix(suffix))
    request = (size, arguments.dynamic, arguments.weight_type, arguments.overwrite)
    exporter.check_request(arguments.format, out, *request)
    if not run.is_dir():
        outputs.new_file(out.with_name(out.name + exporter.TABLE), overwrite=True, sources=[run])
    backend.prepare_device()
    detector = Detector.load(run, arguments.weights, settings)
    dataset = None
    if not paths:
        data = detector.config.data
        try:
            dataset = build.load_split(data, data.val_split, detector.classes)
        except DataError as error:
            raise ConfigError(
                f"no image to check the file with; give --images FOLDER: {error}"
            ) from error
        if count:
            dataset = dataclasses.replace(dataset, samples=dataset.samples[:count])
    samples = dataset.samples if dataset else []
    images: list = paths or [sample.path or sample.pixels for sample in samples]
    images = images[: min(count or AGREEMENT_IMAGES, AGREEMENT_IMAGES)]
    with quiet_import():  # the converters' notices
        report, path = exporter.export(
            detector,
            arguments.format,
            out,
            images,
            dataset,
            size,
            arguments.dynamic,
            arguments.weight_type,
            arguments.resize,
        )
    echo(exporter.table(report, path.name))
    echo(f"written to {path}")
    return 3 if report.faults() else None
