"""Measure speed and memory, beside torchvision if asked to: ``python scripts/benchmark.py step``.

step: a training step.  inference: an image to its boxes.  ops: the parts of a step that are not
convolutions.  data: the input pipeline.  train: seconds to mAP of a run.  scaling: how a step's cost
grows with what it works on.  leak: memory of a long run.

What is compared takes turns in one run, a process each, so that a busy machine slows both. Printed are
medians and quartiles after a warm-up.
"""

import argparse
import csv
import json
import os
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notices

import numpy as np  # noqa: E402

from frcnn import config as configs  # noqa: E402
from frcnn.cli import quiet_import, run  # noqa: E402
from frcnn.errors import ConfigError  # noqa: E402
from frcnn.presets import BACKBONE_PRESETS, backbone_preset, preset  # noqa: E402


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=[*MEASURES])
    parser.add_argument("--backbone", choices=configs.BACKBONES, help="(vgg16; scaling: tiny)")
    parser.add_argument("--schedule", choices=configs.SCHEDULES, default="joint")
    parser.add_argument("--precision", choices=configs.PRECISIONS, default="float32")
    parser.add_argument("--backend", choices=["tensorflow", "jax"], help="of Keras (as it is set)")
    parser.add_argument("--size", help="HEIGHTxWIDTH of the network input (600x800; scaling: 320x400)")
    parser.add_argument("--batch", type=int, default=1, help="images a step (1)")
    parser.add_argument("--boxes", type=int, default=8, help="ground-truth boxes an image (8)")
    parser.add_argument("--classes", type=int, default=20, help="object classes (20)")
    parser.add_argument("--rois", type=int, help="sampled an image (128; 512 with a pyramid)")
    parser.add_argument("--rounds", type=int, default=4, help="turns of each side (4)")
    parser.add_argument("--times", type=int, default=3, help="runs a turn (3)")
    parser.add_argument("--peer", choices=["torchvision"])
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has the peer")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting")
    parser.add_argument("--out", help="train: folder of the run (a temporary one)")
    parser.add_argument("--steps", type=int, default=2000, help="leak: of the run (2000)")
    parser.add_argument("--axes", default="area,batch,boxes,classes,rois", help="scaling: what to vary")
    parser.add_argument("--plot", metavar="FILE", help="scaling: draw the figures as a PNG")
    arguments = parser.parse_args(argv)
    small = arguments.what == "scaling"
    arguments.backbone = arguments.backbone or ("tiny" if small else "vgg16")
    arguments.size = arguments.size or ("320x400" if small else "600x800")
    return arguments


def main(argv=None):
    arguments = parse(argv)
    if arguments.backend:
        os.environ["KERAS_BACKEND"] = arguments.backend
    if arguments.peer and arguments.what not in ("step", "inference"):
        raise ConfigError(f"--peer is for step and inference, not for {arguments.what}")
    try:
        height, width = (int(side) for side in arguments.size.split("x"))
    except ValueError:
        raise ConfigError(f"--size takes HEIGHTxWIDTH, not {arguments.size!r}") from None
    figures = MEASURES[arguments.what](arguments, height, width)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return int(figures.get("failed", False))


def spec_of(arguments, height, width):
    """Return what a worker is to build and run."""
    return {
        "what": arguments.what,
        "backbone": arguments.backbone,
        "schedule": arguments.schedule,
        "precision": arguments.precision,
        "height": height,
        "width": width,
        "batch": arguments.batch,
        "boxes": arguments.boxes,
        "classes": arguments.classes,
        "rois": arguments.rois or (512 if arguments.backbone in BACKBONE_PRESETS else 128),
        "settings": configs.parse_assignments(arguments.set),
    }


def sides(arguments, height, width):
    """Measure a step or inference, ours and the peer's."""
    from frcnn.benchmark import compare

    spec = spec_of(arguments, height, width)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "frcnn.benchmark.worker", json.dumps(spec)]
    workers = {"ours": compare.Worker(command, environment)}
    if arguments.peer:
        # The better of its memory formats.
        peer = [arguments.peer_python, "-m", "frcnn.benchmark.torchvision_worker"]
        formats = [
            compare.Worker([*peer, json.dumps(spec | {"channels_last": flag})], environment)
            for flag in (False, True)
        ]
        workers["peer"] = compare.fastest(formats)
    compare.alternate(list(workers.values()), arguments.rounds, arguments.times)
    figures = {"spec": spec}
    for name, worker in workers.items():
        result = worker.result()
        figures[name] = result.as_json()
        print(
            f"{name:5} {result.median_s:8.4f} s  ({result.low_s:.4f} to {result.high_s:.4f})  "
            f"{arguments.batch / result.median_s:7.2f} images/s  {result.peak_mb:6.0f} MiB"
        )
        worker.close()
    if arguments.peer:
        figures["ratio"] = figures["peer"]["median_s"] / figures["ours"]["median_s"]
        print(f"ratio {figures['ratio']:.2f} (images a second, ours over {arguments.peer}'s)")
    return figures


def operations(arguments, height, width):
    from frcnn.benchmark.operations import operations

    figures = {}
    for name, function in operations(height, width, arguments.boxes).items():
        seconds = []
        for _ in range(53):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        low, median, high = np.quantile(seconds[3:], [0.25, 0.5, 0.75])
        figures[name] = {"median_s": median, "spread_s": [low, high]}
        print(f"{name:28} {median * 1e3:7.2f} ms   ({low * 1e3:.2f} to {high * 1e3:.2f})")
    return figures


def data(arguments, height, width):
    from frcnn.benchmark.pipeline import images_per_second

    sides_ = {"data.short_side": height, "data.long_side": max(height, width)}
    config = configs.Config().replace(sides_ | configs.parse_assignments(arguments.set))
    figures = {}
    for workers in sorted({1, os.cpu_count()}):
        with tempfile.TemporaryDirectory() as folder:
            rate = images_per_second(folder, config, (16,), workers)
        figures[f"{workers} workers"] = rate
        print(f"{workers} workers: {rate:.1f} images/s, 500x375 JPEGs to {height}x{width} with targets")
    return figures


def train(arguments, *_):
    with quiet_import():
        from frcnn import trainer

    values = configs.parse_assignments(arguments.set)
    config = preset(values.pop("data.dataset", "shapes"))
    chosen = {"train.schedule": arguments.schedule, "train.precision": arguments.precision}
    if config.data.dataset != "shapes":
        chosen |= backbone_preset(arguments.backbone)
    config = config.replace(chosen | values)
    with tempfile.TemporaryDirectory() as temporary:
        out = pathlib.Path(arguments.out or temporary) / "run"
        trainer.train(config, out)
        with (out / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = [(float(row["train_seconds"]), row["mAP"]) for row in csv.DictReader(file)]
    for seconds, mean_ap in rows:
        print(f"{seconds:8.1f} s of training  mAP {mean_ap}")
    return {"train_seconds": [row[0] for row in rows], "mAP": [row[1] for row in rows]}


def scaling(arguments, height, width):
    """Measure along each axis; with --json FILE the axes that the file holds already are kept in it."""
    from frcnn.benchmark import line_chart, scaling

    known = scaling.axes(height, width)
    names = arguments.axes.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--axes takes {','.join(known)}, not {', '.join(unknown)}")
    file = pathlib.Path(arguments.json or "")
    figures = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    spec = spec_of(arguments, height, width)
    # The head's share must not hide what grows.
    spec["settings"] = {"model.head_width": "256", "model.head_dropout": "0"} | spec["settings"]
    for name in names:
        of_axis = scaling.measure(known[name], spec, ROOT, arguments.rounds, arguments.times)
        figures[f"{arguments.backbone}, {name}"] = of_axis
        print(scaling.table(of_axis), end="\n\n", flush=True)
    if arguments.plot:
        line_chart.save(scaling.picture(figures), arguments.plot)
    return figures


def leak(arguments, *_):
    """Train on ``shapes`` and compare the memory of step 200 with that of the last."""
    with quiet_import():
        from frcnn.benchmark import leak

    if arguments.steps < 300 or arguments.steps % 100:
        raise ConfigError(f"--steps must be a multiple of 100 from 300 on, not {arguments.steps}")
    values = {"train.schedule": arguments.schedule, "train.precision": arguments.precision}
    config = leak.config_of(arguments.steps, values | configs.parse_assignments(arguments.set))
    with tempfile.TemporaryDirectory() as folder:
        growth = leak.watch(config, folder)
    print(
        f"{arguments.schedule}: {growth.first_mb:.0f} MiB at step {leak.FIRST}, {growth.last_mb:.0f} MiB "
        f"at step {arguments.steps}: {growth.ratio:.3f} times as much (at most {leak.LIMIT})"
    )
    return growth.as_json() | {"failed": growth.leaks}


MEASURES = {
    "step": sides,
    "inference": sides,
    "ops": operations,
    "data": data,
    "train": train,
    "scaling": scaling,
    "leak": leak,
}

if __name__ == "__main__":
    run(main)
