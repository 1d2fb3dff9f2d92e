"""``scripts/benchmark.py``: what each measure takes, what it refuses, and what it writes."""

import functools
import json

import pytest
from benchmark import compare, convolutions, leak, operations, time_to_map
from benchmark.pipeline import Feed
from support import load_script

from frcnn import backend
from frcnn.config.presets import preset
from frcnn.errors import ConfigError
from frcnn.training.joint import Joint

NARROW = ["--set=model.weights=none", "--set=model.rpn_channels=8", "--set=model.head_width=8"]
SMALL = ["--backbone", "tiny", "--size", "48x64", "--rounds", "1", "--times", "2"]


@pytest.fixture
def benchmark(tmp_path):
    """Return a function from arguments to the figures in the file that the script wrote."""
    script = load_script("benchmark")

    def run(*arguments):
        assert script.main([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
        return json.loads((tmp_path / "figures.json").read_text())

    return run


class Pretended:
    """A worker that runs nothing; torchvision's is half as fast, by channels-last a little faster."""

    started = []

    def __init__(self, command, environment):
        assert environment["PYTHONPATH"] and environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
        self.spec = json.loads(command[-1])
        Pretended.started.append(self.spec)
        self.scale = 0.5 if "torchvision" not in command[2] else 1.1 - 0.1 * self.spec["channels_last"]

    def run(self, times, keep=True):
        pass

    def profile(self, times):
        pass

    def result(self):
        times = [self.scale * part for part in (1.0, 0.9, 1.2, 0.4)]
        return compare.Result(*times, 100.0, "abacus", 0.3, None)

    def close(self):
        pass


@pytest.mark.parametrize("what", ["step", "inference"])
def test_both_sides_and_their_ratio_are_written(benchmark, monkeypatch, what):
    monkeypatch.setattr(compare, "Worker", Pretended)
    Pretended.started = []
    options = "--size 48x64 --batch 2 --precision mixed_bfloat16 --peer torchvision"
    found = benchmark(what, *options.split())
    assert found["ratio"] == 2.0
    for side, median in (("ours", 0.5), ("peer", 1.0)):
        assert found[side]["median_s"] == median and found[side]["peak_mb"] == 100.0
        assert found[side]["spread_s"] == [0.9 * median, 1.2 * median]
    assert [spec.pop("channels_last", None) for spec in Pretended.started] == [None, False, True]
    ours, *theirs = Pretended.started
    assert theirs == [ours, ours]
    assert (ours["what"], ours["batch"], ours["precision"]) == (what, 2, "mixed_bfloat16")
    assert (ours["height"], ours["width"], ours["rois"]) == (48, 64, 128)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["step", "--peer", "torchvision", "--set", "roi.samples=8"], "--set changes our side only"),
        (["inference", "--peer", "torchvision", "--precision", "mixed_float16"], "not in mixed_float16"),
        (["step", "--peer", "torchvision", "--backbone", "tiny"], "not tiny"),
        (["step", "--set", "train.precision=float32"], "use --precision"),
        (["leak", "--set", "train.steps_per_epoch=3"], "use --steps"),
        (["scaling", "--axes", "depth"], "not depth"),
        (["leak", "--steps", "250"], "multiple of 100"),
        (["step", "--json", "no/such/folder/figures.json"], "no such folder"),
        (["scaling", "--json", __file__], "not what scaling wrote"),
        (["train", "--plot", "no/such/folder/curves.png"], "no such folder"),
    ],
)
def test_what_cannot_be_measured_is_said_before_it_is(arguments, message):
    with pytest.raises(ConfigError, match=message):
        load_script("benchmark").main(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["conv", "--backbone", "vgg16"],
        ["leak", "--size", "96x96"],
        ["data", "--boxes", "3"],
        ["inference", "--rois", "9"],
        ["step", "--schedule", "four-step"],
        ["train", "--schedule", "joint,both"],
        ["train", "--seeds", "1,1"],
        ["train", "--schedule", "joint,joint"],
        ["step", "--size", "600"],
        ["step", "--rounds", "0"],
        ["step", "--steps", "3"],
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        load_script("benchmark").main(arguments)
    assert "error:" in capsys.readouterr().err


def test_the_pipeline_is_measured_with_the_batch_that_was_asked_for(benchmark, monkeypatch):
    batches = []
    quickly = functools.partialmethod(Feed.images_per_second, seconds=0.05)
    monkeypatch.setattr(Feed, "images_per_second", quickly)
    train_step = Joint.train_step
    monkeypatch.setattr(
        Joint, "train_step", lambda self, batch: batches.append(batch) or train_step(self, batch)
    )
    found = benchmark("data", *SMALL, *NARROW, "--batch", "3")
    assert {len(batch.images) for batch in batches} == {3}
    assert found["training"]["images_per_second"] > 0 and found["training"]["steps"] == 2
    assert found["ours"]["median_s"] > 0 and {"spread_s", "peak_mb"} <= found["ours"].keys()


def test_parts_of_a_step_and_their_shares_are_written(benchmark, monkeypatch):
    monkeypatch.setattr(compare, "Worker", Pretended)
    made = {"anchor targets": (lambda: None, 1.0), "optimizer": (lambda: None, 1.0)}
    monkeypatch.setattr(operations, "operations", lambda spec: made)
    found = benchmark("ops", *SMALL)
    assert found["ours"]["median_s"] == 0.5 and set(found["parts"]) == set(made)
    assert 0 < found["shares"]["in the step"] < found["shares"]["all"] < 0.01


def test_both_ways_of_a_convolution_are_written(benchmark, monkeypatch):
    monkeypatch.setattr(backend, "computes_on_cpu", lambda: True)
    monkeypatch.setattr(convolutions, "measure", lambda shape, dtype, times: {"forward": (0.1, 0.2)})
    found = benchmark("conv", "--rounds", "1", "--times", "1")
    assert found["300x400x128x128"] == {"forward": [0.1, 0.2]}


def test_a_leak_ends_with_a_status(tmp_path, monkeypatch):
    monkeypatch.setattr(leak, "watch", lambda config, run: leak.growth([100.0] * 250 + [200.0] * 50))
    assert load_script("benchmark").main(["leak", "--steps", "300", "--schedule", "four-step"]) == 1


def test_training_takes_its_options_and_keeps_each_seed(tmp_path, monkeypatch):
    asked = []

    def run(config, schedules, *_):
        asked.append((config, schedules))
        if config.train.seed == 5:
            raise ConfigError("the machine went away")
        side = {"curve": [[1.0, 0.5]], "median_s": 1.0, "spread_s": [1.0, 1.0], "peak_mb": 9.0}
        return [{"seed": config.train.seed, "schedule": "joint", "ours": side}]

    monkeypatch.setattr(time_to_map, "run", run)
    file = tmp_path / "curves.json"
    options = "--backbone mobilenet_v2 --size 300x500 --batch 3 --schedule joint,alternating --seeds 4,5"
    folder = ["--data-dir", "images", "--json", str(file)]
    with pytest.raises(ConfigError, match="went away"):
        load_script("benchmark").main(["train", *options.split(), *folder])
    config, schedules = asked[0]
    assert schedules == ["joint", "alternating"] and config.model.backbone == "mobilenet_v2"
    assert (config.data.short_side, config.data.long_side, config.data.batch_size) == (300, 500, 3)
    assert [run["seed"] for run in json.loads(file.read_text())["runs"]] == [4]


def test_without_options_training_is_that_of_the_preset(monkeypatch):
    asked = []
    monkeypatch.setattr(time_to_map, "run", lambda config, *_: asked.append(config) or [])
    assert load_script("benchmark").main(["train"]) == 0
    assert asked == [preset("shapes")]
