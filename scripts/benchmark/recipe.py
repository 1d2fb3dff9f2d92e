"""Measures the gain in mAP by a setting: the same small training with and without it, for several seeds.

Each run is ``frcnn train`` in a process of its own, with a small backbone and small images, on a third
of the training images of one of three real data sets. So many epochs of so few images show what a
setting does against overfitting, at a third of the cost of all images. Then ``frcnn evaluate`` scores
its last weights on the whole test split: COCO's AP, the mean over IoUs from 0.5 to 0.95, and AP50. A
finished run is one line of JSON in a file. A run that is in the file is not repeated, so the benchmark
can be interrupted.
"""

import concurrent.futures
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

from benchmark import compare, few_images
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
# In so few steps SGD has not got far, so most items are tried with Adam.
ADAM = {"optimizer.name": "adam", "optimizer.learning_rate": 3e-4, "optimizer.lr_images": 4}


# Numbers of ``frcnn evaluate --metric coco``.
SCORES = ("AP", "AP50")


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set: its VOC folder below ``--data-dir``, its epochs, its split, and more settings."""

    folder: str
    epochs: int
    split: str = "trainval"
    settings: dict = dataclasses.field(default_factory=dict)


EVERY = 3  # one of so many training images is used
DATA = {
    "cards": Data("cards", 36),
    "bccd": Data("bccd", 48, "train", {"data.on_bad_data": "skip"}),
    "voc": Data("VOCdevkit/VOC2007", 24),
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
}
# What changes detection only: the runs of "adam" are scored once more with each.
DETECTION = {
    "soft-nms": {"detection.soft_nms_sigma": 0.5},
    "flip-in-detection": {"detection.flip": True},
    "scales-in-detection": {"detection.short_sides": "120,144,168"},
}
ITEMS = {
    "default": {},
    "adam": ADAM,
    **{item: ADAM | settings for item, settings in WITH_ADAM.items()},
    # With its settings beside its name: with another file of the recipe it is another run.
    "small-data": {"train.recipe": "small-data"}
    | {
        key: text_format.shown(value)
        for key, value in RECIPE_PRESETS["small-data"].items()
        if key != "train.epochs"  # all items have the same
    },
}


def settings_of(item, data, seed, weights):
    """Return the settings of a run, {key: value}."""
    epochs, split = DATA[data].epochs, DATA[data].split
    own = {"model.weights": weights, "train.epochs": epochs, "train.validate_every": epochs}
    own |= {"data.train_split": split, "train.seed": seed}
    return COMMON | DATA[data].settings | own | ITEMS[item]


def command_of(settings, folder, run_dir):
    """Return the arguments after ``python -m``."""
    return ["frcnn", "train", str(folder), "--out", run_dir, *set_options(settings)]


def score_command(run_dir, file, changed):
    """Return the arguments after ``python -m`` that score a run with some settings of detection."""
    scored = ["frcnn", "evaluate", run_dir, "--metric", "coco", "--json", str(file)]
    return scored + set_options(changed)


def set_options(settings):
    """Return the options ``--set`` of settings, {key: value}."""
    return [x for key, value in settings.items() for x in ("--set", f"{key}={value}")]


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
            scores = {name: float(run[name]) for name in SCORES}
            runs.append(run | scores | {"key": key_of(run)})
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path}, line {number}: not a run of this benchmark") from None
    return runs


def key_of(run):
    """Return a tuple that is equal for two runs with the same settings."""
    settings = tuple(sorted((key, str(value)) for key, value in run["settings"].items()))
    return run["data"], run["item"], settings


def measure(item, data, seed, data_dir, weights, root, threads):
    """Train once, and score the weights.

    Returns:
        A list of runs as dicts: that of the item and, for "adam", one for each of ``DETECTION``.

    Raises:
        FrcnnError: a command failed; the message has its last lines.
    """
    settings = settings_of(item, data, seed, weights)
    folder = pathlib.Path(data_dir) / DATA[data].folder
    environment = compare.environment(root) | {"TF_NUM_INTRAOP_THREADS": str(threads)}
    changes = {item: {}} | (DETECTION if item == "adam" else {})
    with tempfile.TemporaryDirectory() as temporary:
        run_dir, few = (str(pathlib.Path(temporary) / name) for name in ("run", "few"))
        few_images.make(folder, DATA[data].split, EVERY, few)
        spent = cpu_seconds(command_of(settings, few, run_dir), environment)
        scores = {}
        for name, changed in changes.items():
            file = pathlib.Path(temporary) / f"{name}.json"
            cpu_seconds(score_command(run_dir, file, changed), environment)
            scores[name] = json.loads(file.read_text("utf-8"))["summary"]
    return [
        {
            "data": data,
            "item": name,
            "seed": seed,
            **{score: round(scores[name][score], 4) for score in SCORES},
            "cpu_seconds": spent,
            "commit": commit(root),
            "commands": [
                shlex.join(command_of(settings, "FEW_IMAGES", "RUN")),
                shlex.join(score_command("RUN", "SCORES.json", changed)),
            ],
            "settings": settings | changed,
        }
        for name, changed in changes.items()
    ]


def cpu_seconds(command, environment):
    """Run ``python -m`` with the arguments, and return the processor time that it took.

    Raises:
        FrcnnError: it failed; the message has its last lines.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not wait itself
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")[-2000:]
            raise FrcnnError(f"{shlex.join(command)} failed:\n{said}")
    return round(used.ru_utime + used.ru_stime)


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
                made = future.result()
                with open(file, "a", encoding="utf-8") as lines:  # all or none
                    lines.write("".join(json.dumps(one) + "\n" for one in made))
                for one in made:
                    name = f"{one['data']} {one['item']} seed {one['seed']}"
                    scores = ", ".join(f"{score} {one[score]:.3f}" for score in SCORES)
                    write(f"{name}: {scores}; {one['cpu_seconds']} s of a core")
        finally:
            pool.shutdown(cancel_futures=True)
    for data, item, settings in list(keys):
        for name, changed in DETECTION.items() if item == "adam" else ():
            keys[key_of({"data": data, "item": name, "settings": dict(settings) | changed})] = None
    return [one for one in read(file) if one["key"] in keys]


def table(runs):
    """Return a Markdown table: mean and standard deviation over the seeds, and the gain.

    The gain is the mean, over the seeds that both have, of the difference to the ``reference`` with the
    same seed.
    """
    scores = [column for name in SCORES for column in (name, "gain")]
    columns = ["data", "item", "seeds", *scores, "over", "seconds of a core"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for data in dict.fromkeys(one["data"] for one in runs):
        by_seed = {}
        for one in runs:
            if one["data"] == data:
                by_seed.setdefault(one["item"], {})[one["seed"]] = one
        for item, own in by_seed.items():
            other = by_seed.get(reference(item), {})
            both = [(run, other[seed]) for seed, run in own.items() if seed in other]
            row = [data, item, len(own)]
            for name in SCORES:
                row.append(spread(run[name] for run in own.values()))
                row.append(spread((one[name] - base[name] for one, base in both), "+") if both else "")
            row.append(reference(item) if both else "")
            row.append(round(statistics.mean(run["cpu_seconds"] for run in own.values())))
            lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def reference(item):
    """Return the item that an item is compared with; None: with nothing."""
    if item == "default":
        return None
    return "adam" if item in WITH_ADAM or item in DETECTION else "default"


def spread(values, sign=""):
    """Return mean and standard deviation as text, in points."""
    values = list(values)
    about = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):{sign}.1f}{about}"
