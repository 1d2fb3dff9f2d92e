"""The measurements of ``scripts/benchmark.py``: each function returns figures for JSON.

They also print the figures. ``options`` is the script's ``argparse.Namespace``.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

from benchmark import compare
from frcnn.cli.common import quiet_import
from frcnn.config.presets import BACKBONE_PRESETS
from frcnn.config.text_format import parse_assignments
from frcnn.errors import ConfigError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def save(options, figures):
    """Write figures to the file of ``--json``, if there is one."""
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


# Settings that an option is there for, and would be told otherwise than measured.
OPTION_OF = {
    "model.backbone": "--backbone",
    "train.schedule": "--schedule",
    "train.precision": "--precision",
    "data.batch_size": "--batch",
    "train.seed": "--seeds",
    "train.epochs": "--epochs",
    "train.steps_per_epoch": "--steps",
    "roi.samples": "--rois",
}


def settings_of(options):
    """Return the settings of ``--set`` as {key: text}."""
    settings = parse_assignments(options.set)
    for key in settings.keys() & OPTION_OF.keys():
        name = OPTION_OF[key]
        if hasattr(options, name.removeprefix("--")):
            raise ConfigError(f"--set {key}: use {name}")
    return settings


def spec_of(options, what):
    """Return the specification of what a worker builds and runs."""
    rois = 512 if options.backbone in BACKBONE_PRESETS else 128
    return {
        "what": what,
        "backbone": options.backbone,
        "schedule": options.schedule,
        "precision": options.precision,
        "backend": options.backend or os.environ.get("KERAS_BACKEND"),
        "height": options.size[0],
        "width": options.size[1],
        "batch": options.batch,
        # Defaults where a measure has no such option, and does not use it.
        "boxes": getattr(options, "boxes", 8),
        "classes": getattr(options, "classes", 20),
        "rois": getattr(options, "rois", None) or rois,
        "settings": settings_of(options),
    }


PEER_BACKBONES = ("vgg16", "resnet50_fpn", "mobilenet_v3_large_fpn")


def our_worker(spec):
    """Start our side of a comparison."""
    command = [sys.executable, "-m", "benchmark.worker", json.dumps(spec)]
    return compare.Worker(command, compare.environment(ROOT))


def step(options):
    return _sides(options, "step")


def inference(options):
    return _sides(options, "inference")


def _sides(options, what):
    """Measure ours and the peer's, in turns."""
    if options.peer and options.set:
        raise ConfigError("--set changes our side only: leave it out, or --peer")
    if options.peer and options.precision == "mixed_float16":
        raise ConfigError("--peer runs in float32 or mixed_bfloat16, not in mixed_float16")
    if options.peer and options.backbone not in PEER_BACKBONES:
        raise ConfigError(f"--peer has {', '.join(PEER_BACKBONES)}, not {options.backbone}")
    spec = spec_of(options, what)
    workers = {"ours": our_worker(spec)}
    if options.peer:
        # The better of its memory formats.
        peer = [options.peer_python, "-m", "benchmark.torchvision_worker"]
        formats = [
            compare.Worker(
                [*peer, json.dumps(spec | {"channels_last": flag})], compare.environment(ROOT)
            )
            for flag in (False, True)
        ]
        workers["peer"] = compare.fastest(formats)
    compare.alternate(list(workers.values()), options.rounds, options.times)
    figures = {"spec": spec}
    for name, worker in workers.items():
        worker.profile(options.times)
        result = worker.result()
        figures[name] = result.as_json()
        print(f"{name:5} {result.describe(options.batch)}")
        worker.close()
    if options.peer:
        figures["ratio"] = figures["peer"]["median_s"] / figures["ours"]["median_s"]
        print(f"ratio {figures['ratio']:.2f} (images a second, ours over {options.peer}'s)")
    return figures


def export(options):
    """Measure exported files beside our Keras detector and the peer's, in turns."""
    from benchmark import exported

    options.schedule, options.precision, options.batch, options.backend = "joint", "float32", 1, None
    return exported.measure(options, spec_of(options, "inference"), our_worker, PEER_BACKBONES, ROOT)


def ops(options):
    """Measure a step's parts that are neither forward nor backward pass, and their share of a step."""
    spec = spec_of(options, "step")
    whole_step = our_worker(spec)
    compare.alternate([whole_step], options.rounds, options.times)
    whole = whole_step.result()
    whole_step.close()
    with quiet_import():
        from benchmark.operations import operations, shares
        from frcnn.backend import prepare_device

    prepare_device()
    parts, seconds = {}, {}
    for name, (function, a_step) in operations(spec).items():
        low, median, high = (np.array(quartiles(function)) * a_step).tolist()
        parts[name] = {"median_s": median, "spread_s": [low, high]}
        seconds[name] = median
    found = shares(seconds, whole.median_s)
    print(f"{'a step':44} {whole.median_s * 1e3:8.1f} ms   100.00 %")
    for name, share in found.items():
        print(f"{name:44} {share * whole.median_s * 1e3:8.2f} ms   {share:6.2%}")
    return {"spec": spec, "ours": whole.as_json(), "parts": parts, "shares": found}


def host(options):
    """Measure what the host does between the compiled calls of a step that logs nothing."""
    with quiet_import():
        from frcnn.backend import IS_TENSORFLOW, prepare_device

    if not IS_TENSORFLOW:
        raise ConfigError("host watches TensorFlow: leave out --backend jax")
    from benchmark import host

    prepare_device()
    spec = spec_of(options, "step")
    with tempfile.TemporaryDirectory() as folder:
        watch, batch_bytes = host.measure(spec, options.times, folder)
    low, median, high = np.quantile([one.seconds for one in watch.steps], [0.25, 0.5, 0.75]).tolist()
    each = {
        name: float(np.median([getattr(one, name) for one in watch.steps]))
        for name in ("calls", "reads", "bytes_up", "bytes_down")
    }
    figures = each | {"batch_bytes": batch_bytes, "nodes": watch.nodes()}
    calls, reads, up, down = each.values()
    print(
        f"host {median * 1e3:.2f} ms ({low * 1e3:.2f} to {high * 1e3:.2f}) a step beside {calls:.0f} "
        f"compiled calls; {reads:.0f} blocking reads; {up:.0f} bytes go in beside the batch's "
        f"{batch_bytes}; {down:.0f} come out; {figures['nodes']} nodes"
    )
    return {"spec": spec, "ours": {"median_s": median, "spread_s": [low, high]}, "host": figures}


def quartiles(function, times=50):
    """Return the quartiles of a function's seconds, after a warm-up."""
    seconds = []
    for _ in range(times + 3):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return np.quantile(seconds[3:], [0.25, 0.5, 0.75])


def conv(options):
    """Time ``frcnn.layers.winograd`` and the ordinary convolution, by which that module chooses."""
    with quiet_import():
        from benchmark import convolutions
        from frcnn.backend import computes_on_cpu, prepare_device

    prepare_device()
    if not computes_on_cpu():
        raise ConfigError("conv compares two ways, and only TensorFlow on a CPU has two")
    dtype = options.precision.removeprefix("mixed_")
    figures = {}
    for shape in convolutions.SHAPES:
        found = convolutions.measure(shape, dtype, options.rounds * options.times)
        figures["x".join(map(str, shape))] = found
        parts = (
            f"{name} {ours * 1e3:4.0f} and {theirs * 1e3:4.0f} ms, {theirs / ours:.2f} times as fast"
            for name, (ours, theirs) in found.items()
        )
        print("{:3} x {:3}, {:3} to {:3} channels: ".format(*shape) + "; ".join(parts), flush=True)
    return figures


def data(options):
    """Measure the input pipeline: alone on one core and on all, and while a network trains."""
    with quiet_import():
        from benchmark import pipeline, protocol
        from frcnn.backend import prepare_device

    prepare_device()
    spec = spec_of(options, "step")
    figures = {"spec": spec}
    with tempfile.TemporaryDirectory() as folder:
        with quiet_import():
            feed = pipeline.Feed(folder, spec, options.photo)
        cores = len(os.sched_getaffinity(0))
        for workers in sorted({1, cores}):
            rates = feed.images_per_second(workers, options.rounds)
            low, median, high = np.quantile(rates, [0.25, 0.5, 0.75]).tolist()
            alone = {
                "median_s": 1 / median,
                "spread_s": [1 / high, 1 / low],
                "peak_mb": protocol.peak_mb(),
            }
            figures[f"{workers} workers"] = figures["ours"] = alone
            height, width = options.photo
            print(
                f"{workers} workers on as many cores: {median:.1f} images/s ({low:.1f} to {high:.1f}), "
                f"{median / workers:.1f} per core; {width}x{height} JPEGs to at most "
                f"{min(options.size)} by {max(options.size)} pixels, with targets",
                flush=True,
            )
        rates = pipeline.of_processes(spec, options.photo, options.rounds)
        low, median, high = np.quantile(rates, [0.25, 0.5, 0.75]).tolist()
        figures["processes"] = {"images_per_second": median}
        print(
            f"{cores} processes with one worker each: {median:.1f} images/s ({low:.1f} to {high:.1f})",
            flush=True,
        )
        figures["training"] = found = feed.while_training(options.rounds * options.times)
    print(
        "while training, {steps} steps: {images_per_second:.2f} images/s, "
        "{share:.2%} of the time spent waiting, at most {longest_s:.4f} s at once".format(**found)
    )
    return figures


def scaling(options):
    """Measure along each axis. Axes that are already in the file of ``--json`` are kept there."""
    from benchmark import line_chart, scaling

    known = scaling.axes(*options.size)
    names = options.axes.split(",")
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--axes takes {','.join(known)}, not {', '.join(unknown)}")
    file = pathlib.Path(options.json or "")
    try:
        axes = json.loads(file.read_text(encoding="utf-8"))["axes"] if file.is_file() else {}
    except (ValueError, KeyError):
        raise ConfigError(f"{file}: not what scaling wrote; name another --json") from None
    spec = spec_of(options, "step")
    # The head's share must not hide what grows.
    spec["settings"] = {"model.head_width": "256", "model.head_dropout": "0"} | spec["settings"]
    failed = False
    for name in names:
        of_axis = scaling.measure(known[name], spec, our_worker, options.rounds, options.times)
        axes[f"{options.backbone}, {name}"] = of_axis
        failed |= scaling.grows_too_fast(of_axis)
        save(options, {"axes": axes})  # hours of work, so before the next axis
        print(scaling.table(of_axis), end="\n\n", flush=True)
    if options.plot:
        line_chart.save(scaling.charts(axes), 4, options.plot)
    return {"axes": axes, "failed": failed}
