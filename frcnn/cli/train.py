"""``frcnn train``: train a detector on a folder of labelled images."""

import argparse
import json
import os
import pathlib
import shlex
import sys

from frcnn.cli.common import quiet_import, settings_of, take_folder
from frcnn.cli.options import PRECEDENCE, Parser, any_setting, data_settings, setting
from frcnn.config import schema as configs
from frcnn.config.short_names import SHORT_NAMES
from frcnn.distributed import discovery, launcher, lifeline
from frcnn.errors import ConfigError, Interrupted
from frcnn.runs import run_directory, signals
from frcnn.text import echo

ROOT = pathlib.Path(__file__).resolve().parents[2]  # the folder that holds the package

EXAMPLES = (
    "frcnn train my_images --backbone resnet50_fpn --epochs 20",
    "frcnn train my_images --recipe small-data --backbone mobilenet_v2_fpn",
    "frcnn train --resume --out runs/my_images-vgg16-20260101-120000",
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line; the options that were not given are None."""
    parser = Parser(
        "train",
        "Train a Faster R-CNN.",
        EXAMPLES,
        "Every other setting: --set KEY=VALUE, with the keys of --json-schema, docs/settings.md or any "
        f"RUN/resolved.json. {PRECEDENCE} RUN and DIR are below the current folder unless absolute.",
    )
    data = parser.add_argument_group("data")
    splits = (
        ("--train-split", "data.train_split", "split to train on"),
        ("--val-split", "data.val_split", "split to validate on"),
    )
    data_settings(data, splits)
    setting(data, "--batch-size", "data.batch_size", "images per step and device")
    setting(data, "--short-side", "data.short_side", "short side of the resized image, pixels")
    setting(data, "--long-side", "data.long_side", "longest long side of a resized image, pixels")
    model = parser.add_argument_group("model")
    setting(model, "--backbone", "model.backbone", ", ".join(configs.BACKBONES))
    setting(model, "--weights", "model.weights", "imagenet, none, a file, or a run directory", "FILE")
    training = parser.add_argument_group("training")
    setting(training, "--recipe", "train.recipe", ", ".join(configs.RECIPES))
    setting(training, "--schedule", "train.schedule", ", ".join(configs.SCHEDULES))
    setting(training, "--precision", "train.precision", ", ".join(configs.PRECISIONS))
    setting(training, "--epochs", "train.epochs", "how often to go through the training split")
    setting(
        training,
        "--steps-per-epoch",
        "train.steps_per_epoch",
        "steps per epoch; 0: once through the split",
    )
    setting(training, "--lr", "optimizer.learning_rate", "learning rate of both sub-models")
    setting(training, "--optimizer", "optimizer.name", "sgd, as in the paper, or adam")
    setting(training, "--seed", "train.seed", "seed of all random numbers")
    training.add_argument(
        "--find-lr",
        action="store_true",
        help="instead of training, raise the learning rate over 100 steps, draw the loss at each "
        "rate, and suggest one (default: off)",
    )
    training.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="the same seed gives the same bits on a GPU, too; on a CPU it always does (default: off)",
    )
    run = parser.add_argument_group("run")
    run.add_argument("--out", metavar="RUN", help="run directory (default: runs/DATA-BACKBONE-TIME)")
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out from its newest checkpoint, with its settings; if there is no "
        "run, start one (default: off)",
    )
    run.add_argument(
        "--allow-config-change",
        action="store_true",
        help="resume even if settings or data have changed (default: off)",
    )
    setting(run, "--profile", "log.profile_steps", "steps to profile, for TensorBoard", "STEPS")
    run.add_argument(
        "--workers-per-node",
        type=int,
        default=0,
        metavar="N",
        help="train with N processes on this machine, each with a GPU or a part of the CPU's cores "
        "(default: 0, which is one process without a launcher)",
    )
    settings = parser.add_argument_group("settings")
    any_setting(settings)
    settings.add_argument(
        "--json-schema",
        action="store_true",
        help="print the JSON schema of a settings file, for editors, and stop (default: off)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Train, and return the exit status; None is success."""
    arguments, base, asked = parse(argv), None, {}
    if arguments.json_schema:
        print(json.dumps(configs.Config.json_schema(), indent=2))
        return None
    if arguments.resume:
        if not arguments.out:
            raise ConfigError("--resume needs the run directory: --out RUN")
        base = run_directory.read_config(pathlib.Path(arguments.out))
        asked = run_directory.read_asked(pathlib.Path(arguments.out))
    elif arguments.allow_config_change:
        raise ConfigError("--allow-config-change needs --resume")
    if arguments.find_lr and (arguments.resume or arguments.workers_per_node):
        raise ConfigError("--find-lr cannot be used with --resume or --workers-per-node")
    found = take_folder(arguments, SHORT_NAMES, arguments.train_split, arguments.val_split)
    settings = settings_of(arguments, SHORT_NAMES, base, arguments.out)
    config, asked = settings.config, asked | settings.asked
    out = arguments.out or run_directory.default_run_dir(arguments.data, config)
    if not 0 <= arguments.workers_per_node <= launcher.MAX_WORKERS:
        raise ConfigError(
            f"--workers-per-node must be between 0 and {launcher.MAX_WORKERS}, "
            f"not {arguments.workers_per_node}"
        )
    if arguments.workers_per_node and not lifeline.is_worker():
        given = sys.argv[1:] if argv is None else argv
        # All processes need the same folder. Its default name has the time, which differs among them.
        command = [sys.executable, "-m", "frcnn", "train", *given]
        command += [] if arguments.out else ["--out", out]
        path = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([path] if path else [])])
        return launcher.launch(command, arguments.workers_per_node)

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.distributed import process_group
        from frcnn.training import lr_finder, train

    process = discovery.find()
    if process.world_size > 1 and not arguments.out:
        raise ConfigError("several processes need one run directory: give it with --out")
    try:
        with signals.handle_with(signals.stop_main_thread), process_group.exit_together(out):
            if process.rank == 0:
                echo("\n".join([*found, settings.summary()]))
            if arguments.find_lr:
                train.train(config, out, make_trainer=lr_finder.LearningRateFinder, asked=asked)
                return None
            train.train(config, out, arguments.resume, arguments.allow_config_change, asked=asked)
    except Interrupted as stop:  # the user asked for it, so the status is that of success
        print(stop)
        return None
    if process.rank == 0:
        run = shlex.quote(str(out))
        echo(
            f"run directory: {out}; TensorBoard's page Images has the pictures\n"
            f"look at it:  tensorboard --logdir {run}\n"
            f"score it:    frcnn evaluate {run} --report report.html\n"
            f"use it:      frcnn predict {run} IMAGE"
        )
    return None
