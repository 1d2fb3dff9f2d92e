"""The command ``frcnn``: find the subcommand and run it.

A subcommand's module is imported only when that subcommand runs, so ``--help`` never waits for Keras.
"""

import importlib
import os
import sys

import frcnn
from frcnn.distributed import lifeline
from frcnn.errors import ConfigError
from frcnn.runs import signals
from frcnn.text import did_you_mean, shown

# Subcommand -> its module in frcnn.cli, and what it does.
COMMANDS = {
    "train": ("train", "train a detector on a folder of labelled images"),
    "evaluate": ("evaluate", "score a trained detector on labelled images"),
    "compare": ("compare", "compare training runs: scores, settings, curves"),
    "predict": ("predict", "detect objects in images, folders and videos"),
    "export": ("export", "write a detector as SavedModel, ONNX, LiteRT or OpenVINO, and check the file"),
    "inspect": ("inspect", "report on a data set before training: faults, sizes, anchors"),
    "convert": ("convert", "write labelled images in another format; merge, divide, filter"),
    "import": ("import_weights", "make a detector file from weights of torchvision or keras-frcnn"),
    "download": ("download", "fetch PASCAL VOC from its official address"),
}
USAGE = """usage: frcnn COMMAND ...

Faster R-CNN in Keras 3: train a detector, evaluate it, use it.

commands:
{commands}

  frcnn COMMAND --help   the command's options, their defaults and three examples
  frcnn --version

examples:
  frcnn train my_images                      a folder of labelled images, in VOC's or another format
  frcnn predict runs/my_images-... photo.jpg
  frcnn evaluate runs/my_images-...
"""


def usage() -> str:
    """Return the text of ``frcnn --help``."""
    lines = [f"  {name:<9} {text}" for name, (_, text) in COMMANDS.items()]
    return USAGE.format(commands="\n".join(lines))


def main(arguments: list[str]) -> int | None:
    """Run a subcommand and return its exit status; None is success.

    Args:
        arguments: the command line; the first word is the subcommand.

    Raises:
        ConfigError: there is no such subcommand.
    """
    if len(arguments) > 1 and arguments[0] == "help":
        arguments = [arguments[1], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return None
    if arguments[0] in ("-V", "--version"):
        print(f"frcnn {frcnn.__version__}")
        return None
    name, *rest = arguments
    if name not in COMMANDS:
        near = did_you_mean(name, COMMANDS, cutoff=0.5)
        known = "" if near else f"; the commands are {', '.join(COMMANDS)}"
        raise ConfigError(f"there is no command '{shown(name)}'{near}{known}")
    return importlib.import_module(f"frcnn.cli.{COMMANDS[name][0]}").main(rest)


def entry(command: str | None = None) -> None:
    """Run the process's command line and end the process with its status.

    Args:
        command: the subcommand, for a script that runs only this one; None: the first argument names it.
    """
    arguments = [command, *sys.argv[1:]] if command else sys.argv[1:]
    if arguments[:1] == ["train"]:  # before the imports that take seconds and start threads
        signals.listen()
        lifeline.watch()
    # Imports numpy, whose threads must start after the signals are blocked.
    from frcnn.cli.common import run

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices
    run(lambda: main(arguments))
