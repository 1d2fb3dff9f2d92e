"""``frcnn import``: make a detector file from weights of torchvision or keras-frcnn."""

import argparse
import math
import shlex
from typing import Any

from frcnn.cli.common import quiet_import
from frcnn.cli.options import Parser
from frcnn.config.text_format import parse_assignments
from frcnn.errors import ConfigError
from frcnn.files import outputs
from frcnn.text import echo

EXAMPLES = (
    "frcnn import torchvision weights.pth fasterrcnn_resnet50_fpn coco.h5",
    "frcnn import keras-frcnn model_frcnn.hdf5 old.h5 --classes cat,dog",
    "frcnn predict coco.h5 photo.jpg",
)
TORCHVISION_EXAMPLES = (
    EXAMPLES[0],
    "frcnn import torchvision weights.pth fasterrcnn_resnet50_fpn coco.h5 --set min_size=600",
    "frcnn import torchvision a.pth fasterrcnn_resnet50_fpn a.h5 --set num_classes=3 --classes cat,dog",
)
KERAS_FRCNN_EXAMPLES = (
    EXAMPLES[1],
    "frcnn import keras-frcnn model_frcnn.hdf5 old.h5 --classes cat,dog --short-side 300",
    "frcnn import keras-frcnn model_frcnn.hdf5 old.h5 --classes cat,dog --anchor-sizes 64,128,256",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        "import",
        "Make a detector file from weights of torchvision or keras-frcnn. predict, evaluate and\n"
        "train --weights take such a file.",
        EXAMPLES,
    )
    kinds = parser.add_subparsers(  # type: ignore[call-overload]
        dest="kind",
        metavar="KIND",
        required=True,
        parser_class=_kind_parser,  # a function that makes one
    )
    torchvision = _add_kind(
        kinds, "torchvision", "a state dict of one of torchvision's detectors", TORCHVISION_EXAMPLES
    )
    torchvision.add_argument("file", metavar="FILE", help=".pth, .safetensors or .npz")
    torchvision.add_argument(
        "name", metavar="NAME", help="torchvision's builder, such as fasterrcnn_resnet50_fpn"
    )
    torchvision.add_argument("out", metavar="OUT", help="the new detector file")
    torchvision.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the builder, such as min_size=600 or box_score_thresh=0.5; may be repeated "
        "(default: none)",
    )
    torchvision.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names without the background, comma-separated (default: COCO's)",
    )

    old = _add_kind(
        kinds, "keras-frcnn", "the HDF5 weights of a keras-frcnn VGG16", KERAS_FRCNN_EXAMPLES
    )
    old.add_argument("file", metavar="FILE", help=".hdf5")
    old.add_argument("out", metavar="OUT", help="the new detector file")
    old.add_argument(
        "--classes",
        metavar="NAMES",
        help="class names in the order of class_mapping, without bg (default: numbers)",
    )
    old.add_argument("--short-side", metavar="N", help="im_size of keras-frcnn, pixels (default: 600)")
    old.add_argument(
        "--anchor-sizes",
        metavar="NUMBERS",
        help="anchor_box_scales of keras-frcnn, pixels (default: 128,256,512)",
    )
    old.add_argument(
        "--anchor-ratios",
        metavar="RATIOS",
        help="anchor_box_ratios of keras-frcnn, WIDTH:HEIGHT; later versions have "
        "1:1,0.707:1.414,1.414:0.707 (default: 1:1,1:2,2:1)",
    )
    for kind in (torchvision, old):
        kind.add_argument(
            "--overwrite", action="store_true", help="replace OUT if it exists (default: off)"
        )
    return parser.parse_args(argv)


def _kind_parser(prog: str, text: str, examples: tuple[str, ...], **_: Any) -> Parser:
    return Parser(prog.removeprefix("frcnn "), text, examples)


def _add_kind(kinds: Any, name: str, what: str, examples: tuple[str, ...]) -> Parser:
    """Add the parser of one kind of weights to ``import``."""
    text = f"Make a detector file from {what}."
    return kinds.add_parser(name, help=what, text=text, examples=examples)


def main(argv: list[str] | None = None) -> None:
    """Run the command."""
    arguments = parse(argv)
    classes = names(arguments.classes)
    out = outputs.new_file(arguments.out, arguments.overwrite, sources=[arguments.file])
    if arguments.kind == "torchvision":
        settings: dict[str, Any] = dict(parse_assignments(arguments.set))
        if "num_classes" in settings:
            (settings["num_classes"],) = numbers(settings["num_classes"], "num_classes", int)
    else:
        settings = old_settings(arguments)

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.convert.keras_frcnn import import_keras_frcnn
        from frcnn.convert.torchvision import import_torchvision
        from frcnn.weights import initial
        from frcnn.weights.state_dicts import read_state

    if arguments.kind == "torchvision":
        state = read_state(arguments.file)
        detector = import_torchvision(arguments.name, state, classes, **settings)
        source = f"all {len(state)} entries of {arguments.file}"
    else:
        detector = import_keras_frcnn(arguments.file, **settings)
        source = f"all layers of {arguments.file}"
    layers = initial.weighted_layers(detector.models.detector)
    count = sum(math.prod(weight.shape) for layer in layers for weight in layer.weights)
    echo(f"loaded {source}: {len(layers)} layers, {count:,} weights")
    echo(f"{len(detector.classes)} classes: {', '.join(detector.classes)}")
    detector.save(out, arguments.overwrite)
    echo(f"detector: {out}\nlook at it:  frcnn predict {shlex.quote(str(out))} IMAGE")


def old_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options' values as arguments of ``import_keras_frcnn``."""
    settings: dict[str, Any] = {}
    if arguments.classes:
        settings["classes"] = names(arguments.classes)
    if arguments.short_side:
        settings["short_side"] = arguments.short_side
    if arguments.anchor_sizes:
        settings["sizes"] = numbers(arguments.anchor_sizes, "--anchor-sizes")
    if arguments.anchor_ratios:
        pairs = arguments.anchor_ratios.split(",")
        settings["ratios"] = [numbers(pair, "--anchor-ratios", separator=":") for pair in pairs]
    return settings


def names(text: str | None) -> list[str] | None:
    """Return the list of names in an option's text, None without the option."""
    return [name.strip() for name in text.split(",")] if text else None


def numbers(text: str, name: str, kind: type = float, separator: str = ",") -> list[Any]:
    """Return the list of numbers in an option's text."""
    try:
        return [kind(part) for part in text.split(separator)]
    except ValueError:
        raise ConfigError(f"{name} takes numbers, not {text!r}") from None
