"""The parser that all subcommands share, and options that set settings.

An option that sets a setting has no default of its own: what nobody gives comes from the presets. Its
help shows the value of the configuration without a preset.
"""

import argparse
import sys
import textwrap
from typing import NoReturn

from frcnn.config import Config
from frcnn.text import nearest

DEFAULTS = Config()
PRECEDENCE = (
    "Later sources override earlier ones: defaults, presets of the optimizer, the data set and the "
    "backbone, the network in a weight file, --config FILE, options, --set."
)


class Parser(argparse.ArgumentParser):
    """An argument parser with examples below its options, that names the nearest known option.

    Args:
        command: the subcommand.
        text: what it does.
        examples: three command lines.
        notes: what else there is to say, before the examples.
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

    def error(self, message: str) -> NoReturn:
        """Print one line that names the fault, and the nearest option for an unknown one."""
        if message.startswith("unrecognized arguments: --"):
            word = message.split()[2].split("=")[0]
            near = nearest(word, [name for name in self._option_string_actions if name != "-h"])
            message = f"there is no option {word}" + (f", did you mean {near}?" if near else "")
        print(f"error: {message} ({self.prog} --help lists the options)", file=sys.stderr)
        sys.exit(2)


def setting(group: argparse._ArgumentGroup, flag: str, key: str, text: str) -> None:
    """Add an option that sets the setting ``key``; ``text`` says what it is."""
    value = DEFAULTS.get(key)
    value = ",".join(map(str, value)) if isinstance(value, tuple) else value
    group.add_argument(flag, help=f"{text} (default: {value if value != '' else 'none'})")


def any_setting(group: argparse._ArgumentGroup) -> None:
    """Add ``--config FILE`` and ``--set KEY=VALUE``."""
    group.add_argument("--config", metavar="FILE", help="JSON file with settings, such as a config.json")
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting; may be repeated"
    )
