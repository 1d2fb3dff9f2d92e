"""Time to mAP: turns, curves, what both sides are told, and our side's real process."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark import compare, time_to_map

from frcnn.config.presets import preset
from frcnn.config.schema import Config
from frcnn.data import shapes
from frcnn.errors import ConfigError

ROOT = Path(__file__).parents[2]
CARDS = {"model.weights": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A VOC folder of twelve small images."""
    root = tmp_path_factory.mktemp("voc") / "shapes"
    shapes.make(root, {"trainval": 8, "test": 4})
    return root


class Pretended:
    """A worker that trains nothing."""

    asked = []

    def __init__(self, command, environment):
        self.spec = json.loads(Path(command[-1]).read_text(encoding="utf-8"))
        self.is_peer = "torchvision" in command[2]
        self.name = "peer" if self.is_peer else self.spec["config"]["train"]["schedule"]

    def ask(self, line):
        Pretended.asked.append((self.spec["config"]["train"]["seed"], self.name, line))
        epoch = int(line)
        seconds = epoch * (10.0 if self.is_peer else 7.0)
        return {"seconds": seconds, "ap50": 0.2 * epoch, "loss": 1.0, "peak_mb": 100.0}

    def close(self):
        pass


def settings(folder, **more):
    values = {"data.dir": str(folder), "train.epochs": 2} | CARDS
    return Config().replace(values | {key.replace("__", "."): value for key, value in more.items()})


def test_sides_take_turns_epoch_by_epoch_and_seed_by_seed(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "Worker", Pretended)
    Pretended.asked, lines = [], []
    config = settings(folder)
    schedules = ["joint", "alternating"]
    runs = []
    for seed in (0, 1):
        of_seed = config.replace({"train.seed": seed})
        runs += time_to_map.run(of_seed, schedules, tmp_path, ROOT, "python", lines.append)
    assert Pretended.asked == [
        (seed, side, epoch) for seed in (0, 1) for epoch in "12" for side in (*schedules, "peer")
    ]
    shared = {"peak_mb": 100.0}
    ours = {"curve": [[7.0, 0.2], [14.0, 0.4]], "median_s": 7.0, "spread_s": [7.0, 7.0]} | shared
    peer = {"curve": [[10.0, 0.2], [20.0, 0.4]], "median_s": 10.0, "spread_s": [10.0, 10.0]} | shared
    assert runs == [
        {"seed": seed, "schedule": schedule, "ours": ours, "peer": peer, "ratio": 10.0 / 7.0}
        for seed in (0, 1)
        for schedule in schedules
    ]
    assert len(lines) == len(Pretended.asked)
    table = time_to_map.table(runs)
    assert "0.400 after 20.0 s: reached by ours within 14.0 s" in table
    charts = time_to_map.charts(runs)
    assert [chart.title for chart in charts] == ["seed 0", "seed 1"]
    assert charts[0].lines["joint"] == ((7.0, 0.2), (14.0, 0.4))
    assert charts[0].lines["torchvision"] == ((10.0, 0.2), (20.0, 0.4))


def test_when_a_score_was_reached():
    curve = [[5.0, 0.1], [10.0, None], [15.0, 0.5], [20.0, 0.4]]
    assert time_to_map.reached(curve, 0.4) == 15.0
    assert time_to_map.reached(curve, 0.6) is None
    run = {"seed": 0, "schedule": "joint", "ours": {"curve": curve}, "peer": {"curve": [[1.0, 0.7]] * 4}}
    assert "not reached by ours" in time_to_map.table([run])


def test_both_are_told_the_images_the_numbers_and_the_rates(folder):
    config = settings(folder, optimizer__warmup_steps=2, optimizer__learning_rate=0.01)
    spec = json.loads(json.dumps(time_to_map.specification(config, "run")))
    # The peer knows no "auto".
    resolved = config.replace({"detection.ap_interpolation": "all-point"})
    assert Config().updated_from_json(json.dumps(spec["config"])) == resolved
    assert spec["classes"] == sorted(shapes.CLASSES) and spec["steps_per_epoch"] == 8
    assert len(spec["train"]) == 8 and len(spec["val"]) == 4 and Path(spec["val"][0]["path"]).is_file()
    first = spec["train"][0]
    assert len(first["boxes"]) == len(first["labels"]) == len(first["difficult"]) > 0
    np.testing.assert_allclose(spec["rates"], [0.005] + [0.01] * 11 + [0.001] * 4, rtol=1e-6)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"model.backbone": "resnet50_fpn"}, "model.backbone vgg16, not resnet50_fpn"),
        ({"optimizer.name": "adam"}, "optimizer.name sgd"),
        ({"train.precision": "mixed_float16"}, "float32 or mixed_bfloat16"),
        ({"model.weights": "imagenet"}, "npz"),
    ],
)
def test_the_peer_is_not_trained_on_other_terms(values, message):
    with pytest.raises(ConfigError, match=message):
        time_to_map.refuse_unlike(Config().replace(CARDS | values))
    time_to_map.refuse_unlike(Config().replace(CARDS))


@pytest.mark.slow
def test_our_side_trains_an_epoch_when_told_to(folder, tmp_path):
    config = preset("shapes").replace(
        {
            "data.dataset": "voc",
            "data.dir": str(folder),
            "data.train_split": "trainval",
            "data.val_split": "test",
            "data.short_side": 48,
            "data.long_side": 64,
            "train.epochs": 2,
            "train.steps_per_epoch": 1,
            "train.seed": 3,
        }
    )
    (run,) = time_to_map.run(config, ["joint"], tmp_path, ROOT, write=lambda line: None)
    assert (run["seed"], run["schedule"]) == (3, "joint") and "peer" not in run and "ratio" not in run
    (first, _), (second, score) = run["ours"]["curve"]
    assert 0 < first < second and 0 <= score <= 1


def test_errors_beyond_a_pipes_size_do_not_stop_a_worker():
    noisy = "import sys; sys.stderr.write('x' * 300_000); print('ready'); input(); print('{}')"
    worker = compare.Worker([sys.executable, "-c", noisy])
    assert worker.ask("go") == {}
    worker.close()
