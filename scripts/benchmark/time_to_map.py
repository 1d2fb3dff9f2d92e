"""Measures how long training takes to reach a mAP, here and in torchvision, an epoch each in turn.

Each side is a process that trains an epoch on request and then waits, so that both run on an equally
busy machine. The seconds are those of training, with our compilation and with the reading of images on
both sides, but without validation, our logs and checkpoints. ``frcnn.evaluation.voc_ap`` scores both
sides on the same images.
"""

import json
import os
import pathlib
import sys

import numpy as np

from benchmark import compare, line_chart
from frcnn.errors import ConfigError


def run(config, schedules, folder, root, peer_python=None, write=print):
    """Train every side with the config's seed, and return the results.

    Args:
        config: ``Config`` of our runs, without the schedule.
        schedules: the schedules of our runs.
        folder: folder for the runs; each has a subfolder named after its seed and side.
        root: folder of the package, for the path of the processes.
        peer_python: a Python with torchvision; None: only our side.
        write: called with a line of text after each epoch of a side.

    Returns:
        A list with a dict for each schedule: ``seed``, ``schedule``, ``ours``, and with a peer ``peer``
        and ``ratio``. A side has ``curve``, [[seconds, AP50], ...] with a pair an epoch, the quartiles
        of an epoch's seconds, ``median_s`` and ``spread_s``, and ``peak_mb``; the ratio is of medians.

    Raises:
        ConfigError: torchvision cannot be trained so, or the folder holds a run of the seed.
        FrcnnError: a side failed.
    """
    if peer_python:
        refuse_unlike(config)
    own_folder = pathlib.Path(folder) / f"seed-{config.train.seed}"
    sides = _train(config, schedules, own_folder, root, peer_python, write)
    runs = []
    for schedule in schedules:
        one = {"seed": config.train.seed, "schedule": schedule, "ours": sides[schedule]}
        if peer_python:
            ratio = sides["peer"]["median_s"] / sides[schedule]["median_s"]
            one |= {"peer": sides["peer"], "ratio": ratio}
        runs.append(one)
    return runs


def refuse_unlike(config):
    """Raise a ``ConfigError`` if torchvision's side would be another training."""
    for key, allowed in (
        ("data.dataset", ("voc",)),
        ("model.backbone", ("vgg16",)),
        ("model.pooling", ("roi_align",)),
        ("optimizer.name", ("sgd",)),
        ("train.precision", ("float32", "mixed_bfloat16")),
    ):
        if config.get(key) not in allowed:
            raise ConfigError(f"--peer trains with {key} {' or '.join(allowed)}, not {config.get(key)}")
    weights = config.model.weights
    if weights != "none" and not weights.endswith(".npz"):
        raise ConfigError(f"--peer takes weights from an .npz file, or none, not {weights}")


def specification(config, run_dir):
    """Return the input of both sides' processes: settings, and the labelled images as plain numbers."""
    from frcnn.cli.common import quiet_import

    with quiet_import():
        from frcnn.data import build
        from frcnn.evaluation.evaluator import ap_interpolation
        from frcnn.training import learning_rate

    train_set, val_set = build.load(config.data)

    def plain(dataset):
        return [
            {"path": os.path.abspath(sample.path)}
            | {name: getattr(sample, name).tolist() for name in ("boxes", "labels", "difficult")}
            for sample in dataset.samples
        ]

    interpolation = ap_interpolation(config.detection, val_set)
    config = config.replace({"detection.ap_interpolation": interpolation})
    steps = config.train.steps_per_epoch or -(-len(train_set) // config.data.batch_size)
    rates = learning_rate.of_config(config, steps * config.train.epochs)
    return {
        "config": config.model_dump(),
        "run_dir": str(run_dir),
        "weights": None if config.model.weights == "none" else config.model.weights,
        "classes": list(train_set.classes),
        "train": plain(train_set),
        "val": plain(val_set),
        "steps_per_epoch": steps,
        "rates": np.asarray(rates(np.arange(steps * config.train.epochs))).tolist(),
    }


def _train(config, schedules, folder, root, peer_python, write):
    """Train every side, an epoch each in turn: {its name, the schedule if it is ours: its figures}."""
    if folder.exists():
        raise ConfigError(f"{folder}: there is a run of this seed already")
    folder.mkdir(parents=True)
    sides = {
        schedule: (sys.executable, "benchmark.training_worker", {"train.schedule": schedule})
        for schedule in schedules
    }
    if peer_python:
        sides["peer"] = (peer_python, "benchmark.torchvision_training", {})
    workers = {}
    for name, (python, module, changes) in sides.items():
        file = folder / f"{name}.json"
        spec = specification(config.replace(changes), folder / name)
        file.write_text(json.dumps(spec), encoding="utf-8")
        command = [python, "-m", module, str(file)]
        workers[name] = compare.Worker(command, compare.environment(root))
    answers = {name: [] for name in workers}
    for epoch in range(1, config.train.epochs + 1):
        for name, worker in workers.items():
            found = worker.ask(str(epoch))
            answers[name].append(found)
            write(
                f"seed {config.train.seed}, epoch {epoch}, {name:>11}: {found['seconds']:7.1f} s, "
                f"AP50 {show(found['ap50'])}, loss {found['loss']:.3f}, {found['peak_mb']:.0f} MiB"
            )
    for worker in workers.values():
        worker.close()
    return {name: _figures(of_side) for name, of_side in answers.items()}


def _figures(answers):
    """Return a side's figures from its answers after each epoch."""
    curve = [[found["seconds"], found["ap50"]] for found in answers]
    epochs = np.diff([0.0, *(seconds for seconds, _ in curve)])
    low, median, high = np.quantile(epochs, [0.25, 0.5, 0.75]).tolist()
    peak_mb = max(found["peak_mb"] for found in answers)
    return {"curve": curve, "median_s": median, "spread_s": [low, high], "peak_mb": peak_mb}


def reached(curve, score):
    """Return the seconds at the end of the first epoch that reaches a score; None if none does."""
    return next((seconds for seconds, found in curve if found is not None and found >= score), None)


def show(score):
    return "-" if score is None else f"{score:.3f}"


def table(runs):
    """Return the curves as text, and when our side reached the score of the peer's last epoch."""
    lines = []
    for one in runs:
        lines.append(f"seed {one['seed']}, {one['schedule']}: seconds of training, AP50")
        curve, peer = one["ours"]["curve"], one.get("peer", {}).get("curve", [])
        for number, (seconds, score) in enumerate(curve):
            line = f"  epoch {number + 1}  ours {seconds:8.1f}  {show(score)}"
            if peer:
                line += f"   peer {peer[number][0]:8.1f}  {show(peer[number][1])}"
            lines.append(line)
        if peer and peer[-1][1] is not None:
            at = reached(curve, peer[-1][1])
            said = "not reached by ours" if at is None else f"reached by ours within {at:.1f} s"
            lines.append(f"  the peer's last, {show(peer[-1][1])} after {peer[-1][0]:.1f} s: {said}")
    return "\n".join(lines)


def charts(runs):
    """Return a chart of the curves for each seed."""
    found = []
    for seed in dict.fromkeys(one["seed"] for one in runs):
        of_seed = [one for one in runs if one["seed"] == seed]
        curves = {one["schedule"]: one["ours"]["curve"] for one in of_seed}
        if "peer" in of_seed[0]:
            curves["torchvision"] = of_seed[0]["peer"]["curve"]
        known = {
            name: tuple((seconds, score) for seconds, score in curve if score is not None)
            for name, curve in curves.items()
        }
        found.append(line_chart.Lines(f"seed {seed}", "seconds of training", "AP50", known))
    return found
