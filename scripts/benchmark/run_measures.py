"""What ``scripts/benchmark.py`` measures by whole training runs; ``measures`` has the parts."""

import functools
import pathlib
import tempfile

from benchmark.measures import ROOT, save, settings_of
from frcnn.cli.common import quiet_import
from frcnn.config.presets import backbone_preset, preset
from frcnn.errors import ConfigError


def train(options):
    """Train by each schedule and seed, beside the peer if asked to, and print the curves."""
    from benchmark import line_chart, time_to_map

    values = settings_of(options)
    shapes = not options.data_dir and values.get("data.dataset", "shapes") == "shapes"
    chosen = {"train.precision": options.precision}
    chosen |= backbone_preset(options.backbone) if options.backbone else {}
    if options.size:
        chosen |= {"data.short_side": min(options.size), "data.long_side": max(options.size)}
    for key, value in (
        ("data.batch_size", options.batch),
        ("data.dir", options.data_dir),
        ("model.weights", options.weights),
        ("train.epochs", options.epochs),
        ("train.steps_per_epoch", options.steps),
    ):
        chosen |= {} if value is None else {key: value}
    config = preset("shapes" if shapes else "voc").replace(chosen | values)
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in options.seeds:
            runs += time_to_map.run(
                config.replace({"train.seed": seed}),
                options.schedule,
                options.out or temporary,
                ROOT,
                options.peer_python if options.peer else None,
                lambda line: print(line, flush=True),
            )
            figures = {"config": config.model_dump(), "runs": runs}
            save(options, figures)  # hours of work, so before the next seed
    print(time_to_map.table(runs))
    if options.plot:
        line_chart.save(time_to_map.charts(runs), 3, options.plot)
    return figures


def recipe(options):
    """Do the runs that are missing in the file of ``--runs``, and print the table of gains."""
    from benchmark import recipe

    chosen = {}
    for option, known in (("items", recipe.ITEMS), ("sets", recipe.DATA)):
        chosen[option] = (getattr(options, option) or ",".join(known)).split(",")
        for name in chosen[option]:
            if name not in known:
                raise ConfigError(f"--{option}: {name!r} is not one of {', '.join(known)}")
    given = chosen["items"], chosen["sets"], options.seeds, options.data_dir, options.weights
    said = functools.partial(print, flush=True)
    runs = recipe.run(*given, options.runs, ROOT, said, options.parallel)
    print(recipe.table(runs))
    return {"runs": [{key: one[key] for key in one if key != "key"} for one in runs]}


def pictures(options):
    """Train on a folder, every second epoch with pictures, and print what they cost."""
    with quiet_import():
        from benchmark import pictures

    chosen = {
        "model.weights": options.weights,
        "model.backbone": options.backbone,
        "train.schedule": options.schedule,
        "train.precision": options.precision,
        "train.steps_per_epoch": options.steps or 0,
        "data.batch_size": options.batch,
    }
    found = pictures.measure(options.data_dir, options.rounds, chosen | settings_of(options))
    print(pictures.text(found))
    return found


def leak(options):
    """Train on ``shapes`` and compare the memory of step 200 with that of the last."""
    with quiet_import():
        from benchmark import leak

    if options.steps < 300 or options.steps % 100:
        raise ConfigError(f"--steps must be a multiple of 100 from 300 on, not {options.steps}")
    values = {"train.schedule": options.schedule, "train.precision": options.precision}
    config = leak.config_of(options.steps, values | settings_of(options))
    with tempfile.TemporaryDirectory() as folder:
        growth = leak.watch(config, pathlib.Path(folder) / "run")
    print(
        f"{options.schedule}: {growth.first_mb:.0f} MiB at step {leak.FIRST}, "
        f"{growth.last_mb:.0f} MiB at step {options.steps}: {growth.ratio:.3f} times as much "
        f"(at most {leak.LIMIT})"
    )
    return growth.as_json() | {"failed": growth.leaks}
