"""Train a Faster R-CNN: ``python scripts/train.py --dataset voc``."""

import argparse
import datetime
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn import config as configs  # noqa: E402
from frcnn import launcher, presets  # noqa: E402
from frcnn.cli import config_of, quiet_import, run  # noqa: E402
from frcnn.errors import ConfigError  # noqa: E402

# Command-line option -> the setting it changes.
OPTIONS = {
    "dataset": "data.dataset",
    "data_dir": "data.dir",
    "year": "data.year",
    "train_split": "data.train_split",
    "val_split": "data.val_split",
    "on_bad_data": "data.on_bad_data",
    "short_side": "data.short_side",
    "long_side": "data.long_side",
    "batch_size": "data.batch_size",
    "backbone": "model.backbone",
    "weights": "model.weights",
    "schedule": "train.schedule",
    "precision": "train.precision",
    "epochs": "train.epochs",
    "steps_per_epoch": "train.steps_per_epoch",
    "seed": "train.seed",
    "lr": "optimizer.learning_rate",
}


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Every other setting: --set KEY=VALUE, with the keys of frcnn/config.py or of any "
        "RUN/config.json, such as --set rpn.samples=128 --set anchors.sizes=64,128,256.",
    )
    parser.add_argument("--dataset", help=f"{' or '.join(presets.PRESETS)} (default voc)")
    parser.add_argument(
        "--data-dir", help="holds VOCdevkit/, or is a VOC folder with any classes (data)"
    )
    parser.add_argument("--year", help="of the devkit: 2007, 2012 or 07+12 (2007)")
    parser.add_argument("--train-split", help="trainval")
    parser.add_argument("--val-split", help="test")
    parser.add_argument("--on-bad-data", help="error, or skip images with faults and list them")
    parser.add_argument("--backbone", help=", ".join(configs.BACKBONES))
    parser.add_argument("--weights", help="imagenet, none, or a file: .h5, .npz")
    parser.add_argument("--schedule", help=", ".join(configs.SCHEDULES))
    parser.add_argument("--precision", help=", ".join(configs.PRECISIONS))
    parser.add_argument("--epochs")
    parser.add_argument("--steps-per-epoch", help="0: once through the training split")
    parser.add_argument("--batch-size")
    parser.add_argument("--short-side", help="of the resized image, pixels (600)")
    parser.add_argument("--long-side", help="at most, pixels (1000)")
    parser.add_argument("--lr", help="learning rate of both sub-models")
    parser.add_argument("--optimizer", help="sgd, the paper's; or adam, as in the old Keras trainers")
    parser.add_argument("--seed")
    parser.add_argument("--out", help="run folder (runs/DATASET-BACKBONE-TIME)")
    parser.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted four-step run after its last finished phase",
    )
    parser.add_argument(
        "--workers-per-node",
        type=int,
        default=0,
        metavar="N",
        help="train with N processes on this machine, one a GPU or CPU share (docs/cluster.md)",
    )
    parser.add_argument("--config", help="JSON file with settings, such as another run's config.json")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    return parser.parse_args(argv)


def take_run(arguments):
    """With --resume have the arguments say what the run's own config and folder are."""
    if arguments.resume:
        goes_with = ("resume", "workers_per_node")
        if any(value for name, value in vars(arguments).items() if name not in goes_with):
            raise ConfigError("--resume goes with no other option: the run's config.json says it all")
        arguments.config, arguments.out = f"{arguments.resume}/config.json", arguments.resume
    return arguments


def main(argv=None):
    arguments = take_run(parse(argv))
    config = config_of(arguments, OPTIONS)
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = arguments.out or f"runs/{config.data.dataset}-{config.model.backbone}-{stamp}"
    if arguments.workers_per_node and not launcher.is_worker():
        given = sys.argv[1:] if argv is None else argv
        # All have to have the same folder, and the time is not the same for all.
        folder = [] if arguments.out else ["--out", out]
        command = [sys.executable, __file__, *given, *folder]
        return launcher.run(command, arguments.workers_per_node)

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn import trainer, workers

    if workers.find().count > 1 and not arguments.out:
        raise ConfigError("several workers need one run folder: give it with --out")
    with workers.session(out):
        trainer.train(config, out, resume=bool(arguments.resume))
    print(f"run folder: {out}\nlook at it:  tensorboard --logdir {out}")


if __name__ == "__main__":
    run(main)
