"""The parser that all subcommands share, and options that set settings.

An option that sets a setting has no default of its own: without the option, the value comes from the
presets. ``--help`` shows the default without any preset.
"""

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn

from frcnn.config import Config
from frcnn.config.sections import FORMATS
from frcnn.text import did_you_mean, echo, listed, nearest, shown

DEFAULTS = Config()
PRECEDENCE = (
    "The defaults shown are those of VGG16 on PASCAL VOC. Later sources override earlier ones: "
    "defaults, presets of the optimizer, the data set and the backbone, the recipe, the network in a "
    "weight file, --config FILE, options, --set."
)


class Parser(argparse.ArgumentParser):
    """An argument parser that shows examples, and names the nearest option or value on a mistake.

    Args:
        command: the subcommand.
        text: what it does.
        examples: three command lines.
        notes: a paragraph that is printed before the examples.
    """

    def __init__(self, command: str, text: str, examples: tuple[str, ...], notes: str = ""):
        lines = [textwrap.fill(notes, 90), ""] if notes else []
        lines += ["examples:", *(f"  {example}" for example in examples)]
        super().__init__(
            prog=f"frcnn {command}",
            description=text,
            epilog="\n".join(lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as ``argparse`` does, but refuse unknown arguments, those of a sub-parser as well."""
        namespace, rest = super().parse_known_args(args, namespace)
        if not rest:
            return namespace, rest
        word = rest[0].split("=")[0]
        if not word.startswith("-"):
            self.error(f"unexpected argument {shown(word)}")
        near = nearest(word, [name for name in self._option_string_actions if name != "-h"])
        self.error(f"there is no option {shown(word)}" + (f", did you mean {near}?" if near else ""))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), action.choices, cutoff=0.5)
            name = "/".join(action.option_strings) or action.metavar
            self.error(f"{name} is '{shown(value)}'{near or f'; expected {listed(action.choices)}'}")

    def error(self, message: str) -> NoReturn:
        """Print one line that names the fault, and end the process with status 2."""
        echo(f"error: {message} ({self.prog} --help lists the options)", sys.stderr)
        sys.exit(2)


def setting(
    group: argparse._ArgumentGroup,
    flag: str,
    key: str,
    text: str,
    metavar: str | None = None,
    default: str | None = None,
) -> None:
    """Add an option that sets a setting.

    Args:
        group: the group of options that gets it.
        flag: the option.
        key: the setting.
        text: what the setting means.
        metavar: the value's name in the help; None: N for a whole number, X for another, else NAME.
        default: the default that ``--help`` shows; None: that of the setting.
    """
    value = DEFAULTS.get(key)
    metavar = metavar or {int: "N", float: "X"}.get(type(value), "NAME")
    group.add_argument(flag, metavar=metavar, help=f"{text} (default: {default or value})")


def data_settings(group: argparse._ArgumentGroup, splits: Sequence[tuple[str, str, str]]) -> None:
    """Add FOLDER, and the options that say where the data are.

    Args:
        group: the group of options that gets them.
        splits: (option, setting, help text) for each split that the subcommand reads.
    """
    group.add_argument(
        "data",
        metavar="FOLDER",
        nargs="?",
        help="labelled images: a VOC folder or devkit, COCO JSON, YOLO, CSV, CVAT, LabelMe or loose VOC "
        "XML (docs/data.md). Splits: trainval and test, or else train and val, or train and test; "
        "without splits, a hash of the file names divides the images (default: --data-dir)",
    )
    setting(
        group,
        "--dataset",
        "data.dataset",
        "voc: labelled images of any format in --data-dir; shapes: drawn images; not with FOLDER",
    )
    setting(
        group,
        "--data-dir",
        "data.dir",
        "folder of labelled images, or a folder with VOCdevkit in it; not with FOLDER",
        "DIR",
    )
    setting(group, "--format", "data.format", f"format of the labels: {', '.join(FORMATS)}")
    setting(
        group,
        "--year",
        "data.year",
        "year of the VOC devkit: 2007, 2012 or 07+12",
        default="2007, or 2012 if there is no 2007",
    )
    for flag, key, text in splits:
        setting(group, flag, key, text, default=f"{DEFAULTS.get(key)}; see FOLDER")
    setting(
        group,
        "--on-bad-data",
        "data.on_bad_data",
        "error; skip: skip and list images with faults; clip: the same, but clip boxes that reach "
        "slightly outside their image",
    )


def any_setting(group: argparse._ArgumentGroup) -> None:
    """Add ``--config FILE`` and ``--set KEY=VALUE``."""
    group.add_argument(
        "--config",
        metavar="FILE",
        help="JSON file with settings, such as a run's config.json (default: none)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting; may be repeated (default: none)",
    )


def detection_setting(group: argparse._ActionsContainer) -> None:
    """Add ``--set KEY=VALUE`` for the section ``detection``, which a trained detector can change."""
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the section detection, such as detection.flip=true; may be repeated "
        "(default: those of the run)",
    )
