"""Measure speed and memory, beside torchvision if asked to: ``python scripts/benchmark.py step``.

step: a training step.  inference: an image to its boxes.  ops: the parts of a step that are not
convolutions.  conv: 3x3 convolutions by two ways.  data: the input pipeline.  train: seconds to mAP
of a run.  scaling: how a step's cost grows with what it works on.  leak: memory of a long run.

What is compared takes turns in one run, a process each, so that a busy machine slows both. Printed are
medians and quartiles after a warm-up.
"""

import argparse
import dataclasses
import importlib.util
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
from frcnn.config_text import parse_assignments  # noqa: E402
from frcnn.errors import ConfigError  # noqa: E402
from frcnn.presets import BACKBONE_PRESETS, backbone_preset, preset  # noqa: E402


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=[*MEASURES])
    parser.add_argument("--backbone", choices=configs.BACKBONES, help="(vgg16; scaling: tiny)")
    parser.add_argument("--schedule", default="joint", help=f"{', '.join(configs.SCHEDULES)} (joint)")
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
    parser.add_argument("--data-dir", help="train: a VOC folder (the preset shapes)")
    parser.add_argument("--weights", help="train: a file, or none")
    parser.add_argument("--epochs", type=int, help="train: as the data's preset")
    parser.add_argument("--seeds", default="0", help="train: with commas (0)")
    parser.add_argument("--steps", type=int, help="leak: of the run (2000); train: of an epoch")
    parser.add_argument("--axes", default="area,batch,boxes,classes,rois", help="scaling: what to vary")
    parser.add_argument("--plot", metavar="FILE", help="scaling, train: draw them as a PNG")
    arguments = parser.parse_args(argv)
    small = arguments.what == "scaling"
    arguments.backbone = arguments.backbone or ("tiny" if small else "vgg16")
    arguments.size = arguments.size or ("320x400" if small else "600x800")
    return arguments


def main(argv=None):
    arguments = parse(argv)
    if arguments.backend:
        os.environ["KERAS_BACKEND"] = arguments.backend
    if arguments.peer and arguments.what not in ("step", "inference", "train"):
        raise ConfigError(f"--peer is for step, inference and train, not for {arguments.what}")
    names = arguments.schedule.split(",")
    if any(name not in configs.SCHEDULES for name in names):
        raise ConfigError(f"--schedule is {arguments.schedule}, not {', '.join(configs.SCHEDULES)}")
    if len(names) > 1 and arguments.what != "train":
        raise ConfigError(f"{arguments.what} takes one --schedule; only train takes several")
    if arguments.plot and not importlib.util.find_spec("matplotlib"):
        raise ConfigError("--plot needs matplotlib: pip install matplotlib")
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
        "settings": parse_assignments(arguments.set),
    }


def sides(arguments, height, width):
    """Measure a step or inference, ours and the peer's."""
    from frcnn.benchmark import compare

    spec = spec_of(arguments, height, width)
    # JAX would take most of a GPU's memory at once, and the peer needs some.
    environment = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.4", **os.environ, "PYTHONPATH": str(ROOT)}
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
        worker.profile(arguments.times)
        result = worker.result()
        figures[name] = result.as_json()
        print(f"{name:5} {result.describe(arguments.batch)}")
        worker.close()
    if arguments.peer:
        figures["ratio"] = figures["peer"]["median_s"] / figures["ours"]["median_s"]
        print(f"ratio {figures['ratio']:.2f} (images a second, ours over {arguments.peer}'s)")
    return figures


def operations(arguments, height, width):
    """Measure a step's parts that are neither forward nor backward pass, and their share of a step."""
    from frcnn.benchmark import compare
    from frcnn.benchmark.operations import operations, shares

    spec = spec_of(arguments, height, width) | {"what": "step"}
    command = [sys.executable, "-m", "frcnn.benchmark.worker", json.dumps(spec)]
    step = compare.Worker(command, {**os.environ, "PYTHONPATH": str(ROOT)})
    compare.alternate([step], arguments.rounds, arguments.times)
    whole = step.result()
    step.close()
    figures = {"spec": spec, "step": whole.as_json()}
    seconds = {}
    for name, (function, a_step) in operations(spec).items():
        low, median, high = (np.array(quartiles(function)) * a_step).tolist()
        figures[name] = {"median_s": median, "spread_s": [low, high]}
        seconds[name] = median
    figures["shares"] = shares(seconds, whole.median_s)
    print(f"{'a step':28} {whole.median_s * 1e3:8.1f} ms   100.00 %")
    for name, share in figures["shares"].items():
        milliseconds = share * whole.median_s * 1e3
        print(f"{name:28} {milliseconds:8.2f} ms   {share:6.2%}")
    return figures


def quartiles(function, times=50):
    """Return the quartiles of a function's seconds, after a warm-up."""
    seconds = []
    for _ in range(times + 3):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return np.quantile(seconds[3:], [0.25, 0.5, 0.75])


def conv(arguments, *_):
    """Measure what ``frcnn.winograd`` decides by: its own way beside the sliding kernel."""
    with quiet_import():
        from frcnn.backend import prepare_device
        from frcnn.benchmark import convolutions

    prepare_device()
    dtype = arguments.precision.removeprefix("mixed_")
    figures = {}
    for shape in convolutions.SHAPES:
        found = convolutions.measure(shape, dtype, arguments.rounds * arguments.times)
        figures["x".join(map(str, shape))] = found
        parts = (
            f"{name} {ours * 1e3:4.0f} and {theirs * 1e3:4.0f} ms, {theirs / ours:.2f} times as fast"
            for name, (ours, theirs) in found.items()
        )
        print("{:3} x {:3}, {:3} to {:3} channels: ".format(*shape) + "; ".join(parts), flush=True)
    return figures


def data(arguments, height, width):
    from frcnn.benchmark.pipeline import images_per_second

    sides_ = {"data.short_side": height, "data.long_side": max(height, width)}
    settings = backbone_preset(arguments.backbone) | sides_ | parse_assignments(arguments.set)
    config = configs.Config().replace(settings)
    strides = (4, 8, 16, 32, 64) if config.anchors.size_per_level else (16,)
    figures = {}
    for workers in sorted({1, os.cpu_count()}):
        with tempfile.TemporaryDirectory() as folder:
            rate = images_per_second(folder, config, strides, workers)
        figures[f"{workers} workers"] = rate
        print(
            f"{workers} workers on as many cores: {rate:.1f} images/s, {rate / workers:.1f} a core; "
            f"500x375 JPEGs to {height}x{width} with targets"
        )
    return figures


def train(arguments, height, width):
    """Train by each schedule and seed, beside the peer if asked to, and print the curves."""
    from frcnn.benchmark import line_chart, time_to_map

    values = parse_assignments(arguments.set)
    shapes = not arguments.data_dir and values.get("data.dataset", "shapes") == "shapes"
    config = preset("shapes" if shapes else "voc")
    chosen = {"train.precision": arguments.precision}
    if not shapes:
        chosen |= backbone_preset(arguments.backbone) | {
            "data.short_side": min(height, width),
            "data.long_side": max(height, width),
            "data.batch_size": arguments.batch,
        }
    for key, value in (
        ("data.dir", arguments.data_dir),
        ("model.weights", arguments.weights),
        ("train.epochs", arguments.epochs),
        ("train.steps_per_epoch", arguments.steps),
    ):
        chosen |= {} if value is None else {key: value}
    config = config.replace(chosen | values)
    with tempfile.TemporaryDirectory() as temporary:
        runs = time_to_map.run(
            config,
            arguments.schedule.split(","),
            [int(seed) for seed in arguments.seeds.split(",")],
            arguments.out or temporary,
            ROOT,
            arguments.peer_python if arguments.peer else None,
            lambda line: print(line, flush=True),
        )
    print(time_to_map.table(runs))
    if arguments.plot:
        line_chart.save(time_to_map.charts(runs), 3, arguments.plot)
    return {"config": dataclasses.asdict(config), "runs": runs}


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
        line_chart.save(scaling.charts(figures), 4, arguments.plot)
    return figures


def leak(arguments, *_):
    """Train on ``shapes`` and compare the memory of step 200 with that of the last."""
    with quiet_import():
        from frcnn.benchmark import leak

    steps = arguments.steps or 2000
    if steps < 300 or steps % 100:
        raise ConfigError(f"--steps must be a multiple of 100 from 300 on, not {steps}")
    values = {"train.schedule": arguments.schedule, "train.precision": arguments.precision}
    config = leak.config_of(steps, values | parse_assignments(arguments.set))
    with tempfile.TemporaryDirectory() as folder:
        growth = leak.watch(config, pathlib.Path(folder) / "run")
    print(
        f"{arguments.schedule}: {growth.first_mb:.0f} MiB at step {leak.FIRST}, "
        f"{growth.last_mb:.0f} MiB at step {steps}: {growth.ratio:.3f} times as much "
        f"(at most {leak.LIMIT})"
    )
    return growth.as_json() | {"failed": growth.leaks}


MEASURES = {
    "step": sides,
    "inference": sides,
    "ops": operations,
    "conv": conv,
    "data": data,
    "train": train,
    "scaling": scaling,
    "leak": leak,
}

if __name__ == "__main__":
    run(main)
