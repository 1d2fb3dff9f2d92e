"""Train a Faster R-CNN: ``python scripts/train.py --dataset voc``."""

import argparse
import datetime
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from frcnn.distributed import lifeline  # noqa: E402
from frcnn.runs import signals  # noqa: E402

if __name__ == "__main__":  # before the imports that take seconds and start threads
    signals.listen()
    lifeline.follow()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

from frcnn.cli.common import (
    PRECEDENCE,  # noqa: E402
    quiet_import,  # noqa: E402
    run,  # noqa: E402
    settings_of,  # noqa: E402
)
from frcnn.config import presets  # noqa: E402
from frcnn.config import schema as configs  # noqa: E402
from frcnn.distributed import (
    discovery,  # noqa: E402
    launcher,  # noqa: E402
)
from frcnn.errors import (
    ConfigError,  # noqa: E402
    Interrupted,  # noqa: E402
)
from frcnn.runs import run_directory  # noqa: E402

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
    "optimizer": "optimizer.name",
    "deterministic": "train.deterministic",
}


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Every other setting: --set KEY=VALUE, with the keys of frcnn/config/schema.py or of any "
        "RUN/resolved.json, such as --set rpn.samples=128 --set anchors.sizes=64,128,256. " + PRECEDENCE,
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
    parser.add_argument("--weights", help="imagenet, none, a file, or a run's folder")
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
        action="store_true",
        help="go on with the run in --out from its newest checkpoint, with its config; "
        "start afresh where there is none",
    )
    parser.add_argument(
        "--allow-config-change", action="store_true", help="go on though settings or data have changed"
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="the same seed gives the same bits on a GPU, too; on one CPU it always does",
    )
    parser.add_argument(
        "--workers-per-node",
        type=int,
        default=0,
        metavar="N",
        help="train with N processes on this machine, one a GPU or CPU share (docs/cluster.md)",
    )
    parser.add_argument(
        "--config",
        help="JSON file with settings, such as another run's config.json: what was asked there",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    return parser.parse_args(argv)


def main(argv=None):
    arguments, base, asked = parse(argv), None, {}
    if arguments.resume:
        if not arguments.out:
            raise ConfigError("--resume needs the run's folder: --out RUN")
        base = run_directory.read_config(pathlib.Path(arguments.out))
        asked = run_directory.read_asked(pathlib.Path(arguments.out))
    elif arguments.allow_config_change:
        raise ConfigError("--allow-config-change goes with --resume")
    settings = settings_of(arguments, OPTIONS, base, arguments.out)
    config, asked = settings.config, asked | settings.asked
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    out = arguments.out or f"runs/{config.data.dataset}-{config.model.backbone}-{stamp}"
    if not 0 <= arguments.workers_per_node <= launcher.MAX_WORKERS:
        raise ConfigError(
            f"--workers-per-node must be between 0 and {launcher.MAX_WORKERS}, "
            f"not {arguments.workers_per_node}"
        )
    if arguments.workers_per_node and not lifeline.is_worker():
        given = sys.argv[1:] if argv is None else argv
        # All need the same folder, and the time is not the same for all.
        command = [sys.executable, __file__, *given, *([] if arguments.out else ["--out", out])]
        return launcher.run(command, arguments.workers_per_node)

    with quiet_import():  # TensorFlow takes seconds to import: not for --help or a bad option
        from frcnn.distributed import process_group
        from frcnn.training import train

    if discovery.find().count > 1 and not arguments.out:
        raise ConfigError("several workers need one run folder: give it with --out")
    try:
        with signals.reacting(signals.stop_main), process_group.session(out):
            if discovery.find().rank == 0:
                print(settings.summary())
            train.train(config, out, arguments.resume, arguments.allow_config_change, asked=asked)
    except Interrupted as stop:  # as asked for: whoever asked is to see success
        print(stop)
        return
    print(f"run folder: {out}\nlook at it:  tensorboard --logdir {out}")


if __name__ == "__main__":
    run(main)
