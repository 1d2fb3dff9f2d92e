"""Measure speed and memory, beside torchvision if asked to: ``python scripts/benchmark.py step``.

The two sides run in turn, each in a process of its own, so that a busy machine slows both. It prints
medians and quartiles after a warm-up.
"""

import argparse
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from benchmark import measures, run_measures  # noqa: E402

from frcnn.cli.common import run  # noqa: E402
from frcnn.config import schema as configs  # noqa: E402
from frcnn.errors import ConfigError  # noqa: E402


def positive(text):
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def size(text):
    """Return (height, width) of ``HEIGHTxWIDTH``."""
    sides = text.split("x")
    if len(sides) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH")
    return tuple(map(positive, sides))


def schedules(text):
    names = text.split(",")
    if set(names) - set(configs.SCHEDULES) or len(set(names)) < len(names):
        known = ", ".join(configs.SCHEDULES)
        raise argparse.ArgumentTypeError(f"{text!r} is not one or more of {known}, with commas between")
    return names


def seeds(text):
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers) or len(set(numbers)) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not one or more numbers, with commas between")
    return [int(number) for number in numbers]


def formats(text):
    names = text.split(",")
    if set(names) - set(EXPORT_FORMATS) or len(set(names)) < len(names):
        known = ", ".join(EXPORT_FORMATS)
        raise argparse.ArgumentTypeError(f"{text!r} is not one or more of {known}, with commas between")
    return names


EXPORT_FORMATS = ("saved_model", "onnx", "litert", "openvino")
OPTIONS = {
    "backbone": {"choices": configs.BACKBONES, "default": "vgg16", "help": "(vgg16)"},
    "schedule": {"choices": ["alternating", "joint"], "default": "joint", "help": "(joint)"},
    "precision": {"choices": configs.PRECISIONS, "default": "float32", "help": "(float32)"},
    "backend": {"choices": ["tensorflow", "jax"], "help": "of Keras (as it is set)"},
    "size": {
        "type": size,
        "default": (600, 800),
        "metavar": "HEIGHTxWIDTH",
        "help": "of the network input (600x800)",
    },
    "photo": {
        "type": size,
        "default": (375, 500),
        "metavar": "HEIGHTxWIDTH",
        "help": "of the JPEGs that are read (375x500)",
    },
    "batch": {"type": positive, "default": 1, "help": "images a step (1)"},
    "boxes": {"type": positive, "default": 8, "help": "ground-truth boxes an image (8)"},
    "classes": {"type": positive, "default": 20, "help": "object classes (20)"},
    "rois": {"type": positive, "help": "sampled an image (128; 512 with a pyramid)"},
    "formats": {
        "type": formats,
        "default": ["onnx"],
        "metavar": "NAMES",
        "help": "saved_model, onnx, litert, openvino, with commas between (onnx)",
    },
    "rounds": {"type": positive, "default": 4, "help": "turns of each side (4)"},
    "times": {"type": positive, "default": 3, "help": "runs a turn (3)"},
    "peer": {"choices": ["torchvision"], "help": "to measure beside"},
    "peer-python": {"default": sys.executable, "help": "a Python that has the peer"},
    "set": {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "any setting"},
    "out": {"help": "folder of the runs (a temporary one)"},
    "data-dir": {"help": "a VOC folder (the preset shapes)"},
    "weights": {"help": "a file, or none"},
    "epochs": {"type": positive, "help": "(as the data's preset)"},
    "steps": {"type": positive, "help": "of an epoch (all images once)"},
    "seeds": {"type": seeds, "default": [0], "help": "with commas between (0)"},
    "axes": {"default": "area,batch,boxes,classes,rois", "help": "what to vary (all)"},
    "items": {"help": "what to try, with commas between (all)"},
    "sets": {"help": "data sets, with commas between (all)"},
    "runs": {"required": True, "metavar": "FILE", "help": "a line of JSON for each finished run"},
    "parallel": {"type": positive, "default": 1, "help": "runs at a time, which share the cores (1)"},
    "plot": {"metavar": "FILE", "help": "draw the figures as a PNG"},
    "json": {"metavar": "FILE", "help": "write the figures to this file, too"},
}
NETWORK = "backbone schedule precision backend size batch"
# What each does, its options, and those that differ from the others'.
MEASURES = {
    "step": (
        "a training step",
        f"{NETWORK} boxes classes rois rounds times peer peer-python set",
        {},
    ),
    "inference": (
        "images to their boxes; the network is the same by any schedule",
        f"{NETWORK} classes rounds times peer peer-python set",
        {},
    ),
    "export": (
        "images to their boxes by exported files, beside Keras",
        "backbone size classes rounds times formats peer peer-python set",
        {},
    ),
    "ops": (
        "the parts of a step that are neither forward nor backward pass",
        f"{NETWORK} boxes classes rois rounds times set",
        {},
    ),
    "host": (
        "the host's part of a step, in the training loop",
        f"{NETWORK} boxes classes rois times set",
        {"times": {"default": 8, "help": "steps (8)"}},
    ),
    "conv": ("3x3 convolutions by two ways", "precision backend rounds times", {}),
    "data": ("the input pipeline, alone and while training", f"{NETWORK} photo rounds times set", {}),
    "train": (
        "seconds to mAP of a run",
        f"{NETWORK} out data-dir weights epochs steps seeds peer peer-python plot set",
        {
            "backbone": {"default": None, "help": "(as the data's preset)"},
            "size": {"default": None, "help": "(as the data's preset)"},
            "batch": {"default": None, "help": "(as the data's preset)"},
            "schedule": {"type": schedules, "choices": None, "default": ["joint"]},
        },
    ),
    "scaling": (
        "how a step's cost grows with what it works on",
        f"{NETWORK} boxes classes rois rounds times axes plot set",
        {
            "backbone": {"default": "tiny", "help": "(tiny)"},
            "size": {"default": (320, 400), "help": "(320x400)"},
        },
    ),
    "recipe": (
        "what each setting brings on real images, over seeds; finished runs are not repeated",
        "items sets seeds runs parallel data-dir weights backend",
        {
            "seeds": {"default": [0, 1, 2], "help": "with commas between (0,1,2)"},
            "data-dir": {"required": True, "help": "the folder of cards, bccd and VOCdevkit"},
            "weights": {"required": True, "help": "a file of MobileNetV2's ImageNet weights"},
        },
    ),
    "pictures": (
        "what logging with pictures costs in a training run on a folder of images",
        "backbone schedule precision backend batch data-dir weights steps rounds set",
        {
            "schedule": {"default": "alternating", "help": "(alternating)"},
            "data-dir": {"required": True, "help": "a folder of labelled images"},
            "weights": {"default": "none", "help": "a file, or none (none)"},
            "rounds": {"default": 2, "help": "pairs of epochs (2)"},
        },
    ),
    "leak": (
        "memory of a long run on shapes",
        "schedule precision backend steps set",
        {
            "schedule": {"choices": configs.SCHEDULES},
            "steps": {"default": 2000, "help": "of the run (2000)"},
        },
    ),
}


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    for what, (description, names, own) in MEASURES.items():
        command = commands.add_parser(what, help=description, description=description)
        for name in (*names.split(), "json"):
            command.add_argument(f"--{name}", **OPTIONS[name] | own.get(name, {}))
    return parser.parse_args(argv)


def main(argv=None):
    options = parse(argv)
    if getattr(options, "backend", None):
        os.environ["KERAS_BACKEND"] = options.backend
    plot = getattr(options, "plot", None)
    # Now, not after hours of measuring.
    for file in filter(None, (options.json, plot)):
        if not pathlib.Path(file).absolute().parent.is_dir():
            raise ConfigError(f"{file}: there is no such folder")
    measure = getattr(run_measures, options.what, None) or getattr(measures, options.what)
    figures = measure(options)
    measures.save(options, figures)
    return int(figures.get("failed", False))


if __name__ == "__main__":
    run(main)
