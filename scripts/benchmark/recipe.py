"""Measures the gain in mAP by a setting: the same small training with and without it, for several seeds.

Each run is ``frcnn train`` in a process of its own, on one of three real data sets, with a small
backbone, small images and few epochs. A finished run is one line of JSON in a file. A run that is in the
file is not repeated, so the benchmark can be interrupted. The score is the mAP@0.5 of the last weights
on the test split.
"""

import concurrent.futures
import csv
import dataclasses
import itertools
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from benchmark import compare
from frcnn.config import text_format
from frcnn.config.presets import RECIPE_PRESETS
from frcnn.errors import ConfigError, FrcnnError

# All runs: a budget that two CPU cores can afford.
COMMON = {
    "model.backbone": "mobilenet_v2_fpn",
    "train.schedule": "joint",
    "data.short_side": 144,
    "data.long_side": 240,
    "data.batch_size": 4,
    "data.cache_mib": 2000,
    "anchors.sizes": "12,24,48,96,192",
    "anchors.size_per_level": True,
    "model.pyramid_channels": 64,
    "model.rpn_channels": 64,
    "model.head_width": 256,
    "model.head_dropout": 0,
    "roi.samples": 64,
    "rpn.pre_nms_train": 500,
    "rpn.post_nms_train": 500,
    "rpn.pre_nms_test": 500,
    "rpn.post_nms_test": 200,
    "train.best_weights": "last",
    "log.pictures": 0,
    "log.train_pictures": 0,
}
# With so few steps SGD has not got far, so most items are tried with Adam.
ADAM = {"optimizer.name": "adam", "optimizer.learning_rate": 3e-4, "optimizer.lr_images": 4}


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set: its folder below ``--data-dir``, its epochs, and settings of its own."""

    folder: str
    epochs: int
    settings: dict


DATA = {
    "cards": Data("cards", 6, {}),
    "bccd": Data("bccd", 6, {"data.train_split": "train", "data.on_bad_data": "skip"}),
    "voc": Data("VOCdevkit", 4, {}),
}

# What is tried. The gain is that over "default", or over "adam" if the item is one of ``WITH_ADAM``.
WITH_ADAM = {
    "multi-scale": {"augment.short_sides": "100,122,144,166,188"},
    "cosine": {"optimizer.decay": "cosine"},
    "crop": {"augment.crop": 0.5},
    "scale-jitter": {"augment.scale_jitter": "0.5,1.5"},
    "colour": {"augment.colour": 0.4},
    "rotation": {"augment.rotation": 8, "augment.shear": 4},
    "vertical-flip": {"augment.vertical_flip": 0.5},
    "blur-jpeg": {"augment.blur": 1.0, "augment.jpeg_quality": 40},
    "mosaic": {"augment.mosaic": 0.5},
    "ema": {"train.ema": 0.99},
    "repeat-factor": {"data.repeat_threshold": 0.3},
    # mmdetection gives GIoU ten times the weight of smooth L1.
    "giou": {"loss.box": "giou", "loss.classifier": "1,10"},
    "weight-decay": {"optimizer.weight_decay": 0.05},
    "class-agnostic": {"model.class_agnostic_boxes": True},
    "cascade": {"model.cascade_stages": 3},
    "hard-examples": {"roi.samples": 256, "loss.hard_examples": 64},
    # The reference trains the last three stages all the time.
    "unfreeze": {"model.unfreeze_at": 3},
    "soft-nms": {"detection.soft_nms_sigma": 0.5},
}
ITEMS = {
    "default": {},
    "adam": ADAM,
    **{item: ADAM | settings for item, settings in WITH_ADAM.items()},
    # With its settings beside its name: with another file of the recipe it is another run.
    "small-data": {"train.recipe": "small-data"}
    | {key: text_format.shown(value) for key, value in RECIPE_PRESETS["small-data"].items()},
}


def settings_of(item, data, seed, weights):
    """Return the settings of a run, {key: value}."""
    epochs = DATA[data].epochs
    own = {"model.weights": weights, "train.epochs": epochs, "train.validate_every": epochs}
    return COMMON | DATA[data].settings | own | ITEMS[item] | {"train.seed": seed}


def command_of(settings, folder, run_dir):
    """Return the arguments after ``python -m``."""
    sets = [f"{key}={value}" for key, value in settings.items()]
    return [
        "frcnn",
        "train",
        str(folder),
        "--out",
        run_dir,
        *(x for one in sets for x in ("--set", one)),
    ]


def read(path):
    """Return the runs that a file holds, a list of dicts.

    Raises:
        ConfigError: a line is not a run.
    """
    path = pathlib.Path(path)
    runs = []
    for number, line in enumerate(path.read_text("utf-8").splitlines() if path.exists() else [], 1):
        try:
            run = json.loads(line)
            runs.append(run | {"score": float(run["score"]), "key": key_of(run)})
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path}, line {number}: not a run of this benchmark") from None
    return runs


def key_of(run):
    """Return a tuple that is equal for two runs with the same settings."""
    settings = tuple(sorted((key, str(value)) for key, value in run["settings"].items()))
    return run["data"], run["item"], settings


def measure(item, data, seed, data_dir, weights, root, threads):
    """Train once and return the run as a dict.

    Raises:
        FrcnnError: the run failed; the message has its last lines.
    """
    settings = settings_of(item, data, seed, weights)
    folder = pathlib.Path(data_dir) / DATA[data].folder
    environment = compare.environment(root) | {"TF_NUM_INTRAOP_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as temporary:
        run_dir, output = str(pathlib.Path(temporary) / "run"), pathlib.Path(temporary) / "output"
        started = time.perf_counter()
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *command_of(settings, folder, run_dir)],
                env=environment,
                stdout=file,
                stderr=file,
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not wait itself
        if process.returncode:
            raise FrcnnError(f"{item} on {data} failed:\n{output.read_text(errors='replace')[-2000:]}")
        with open(pathlib.Path(run_dir) / "metrics.csv", newline="", encoding="utf-8") as file:
            last = list(csv.DictReader(file))[-1]
    return {
        "data": data,
        "item": item,
        "seed": seed,
        "score": round(float(last["mAP"]), 4),
        "seconds": round(time.perf_counter() - started),
        "cpu_seconds": round(used.ru_utime + used.ru_stime),
        "commit": commit(root),
        "command": shlex.join(command_of(settings, folder, "RUN")),
        "settings": settings,
    }


def commit(root):
    """Return the short name of the commit that runs, with "+" if files differ from it."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True
        ).stdout

    return git("rev-parse", "--short", "HEAD").strip() + ("+" if git("status", "--porcelain") else "")


def run(items, data_sets, seeds, data_dir, weights, file, root, write=print, parallel=1):
    """Do the runs that are missing in the file, item by item, and return all of these runs.

    Args:
        parallel: number of runs at a time, each with its share of the cores.
    """
    keys = {}
    for item, data, seed in itertools.product(items, data_sets, seeds):
        settings = settings_of(item, data, seed, weights)
        keys[key_of({"data": data, "item": item, "settings": settings})] = item, data, seed
    done = {one["key"] for one in read(file)}
    missing = [one for key, one in keys.items() if key not in done]
    threads = max(1, (os.cpu_count() or 1) // parallel)
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(measure, *one, data_dir, weights, root, threads) for one in missing]
        try:
            for future in concurrent.futures.as_completed(futures):
                one = future.result()
                with open(file, "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(one) + "\n")
                name = f"{one['data']} {one['item']} seed {one['seed']}"
                write(f"{name}: mAP {one['score']:.3f} in {one['cpu_seconds']} s of a core")
        finally:
            pool.shutdown(cancel_futures=True)
    return [one for one in read(file) if one["key"] in keys]


def table(runs):
    """Return a Markdown table: mean and standard deviation over the seeds, and the gain.

    The gain is the mean, over the seeds that both have, of the difference to the ``reference`` with the
    same seed.
    """
    lines = ["| data | item | seeds | mAP@0.5 | gain | seconds of a core |", "|---|---|---|---|---|---|"]
    for data in dict.fromkeys(one["data"] for one in runs):
        of_data = [one for one in runs if one["data"] == data]
        scores = {}
        for one in of_data:
            scores.setdefault(one["item"], {})[one["seed"]] = one["score"]
        for item in dict.fromkeys(one["item"] for one in of_data):
            own, other = scores[item], scores.get(reference(item), {})
            gains = [score - other[seed] for seed, score in own.items() if seed in other]
            seconds = statistics.mean(one["cpu_seconds"] for one in of_data if one["item"] == item)
            gain = f"{spread(gains, '+')} over {reference(item)}" if gains else ""
            row = (data, item, len(own), spread(own.values()), gain, f"{seconds:.0f}")
            lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def reference(item):
    """Return the item that an item is compared with; None: with nothing."""
    if item == "default":
        return None
    return "adam" if item in WITH_ADAM else "default"


def spread(values, sign=""):
    """Return mean and standard deviation as text, in points of mAP."""
    values = list(values)
    about = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):{sign}.1f}{about}"
