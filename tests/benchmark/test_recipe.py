"""Which runs are done and which are left, and the table of gains worked by hand."""

import json
from pathlib import Path

import pytest
from benchmark import recipe
from support import load_script

from frcnn.config.schema import Config
from frcnn.errors import ConfigError


def test_every_item_is_settings_that_there_are():
    for data in recipe.DATA:
        for item in recipe.ITEMS:
            config = Config().replace(recipe.settings_of(item, data, 3, "none"))
            assert config.train.seed == 3 and config.model.backbone == "mobilenet_v2_fpn"
            assert config.train.epochs == recipe.DATA[data].epochs  # small-data has its own


def run_of(item, seed, score, data="cards"):
    settings = recipe.settings_of(item, data, seed, "w.h5")
    return {
        "data": data,
        "item": item,
        "seed": seed,
        "AP": score / 2,
        "AP50": score,
        "cpu_seconds": 100,
        "settings": settings,
    }


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    file, done = tmp_path / "runs.jsonl", []

    def measure(item, data, seed, data_dir, weights, root, threads):
        done.append((item, data, seed))
        return [run_of(item, seed, 0.5, data)]

    monkeypatch.setattr(recipe, "measure", measure)
    given = "in", "w.h5", file, "root", lambda line: None
    found = recipe.run(["default"], ["cards"], [0, 1], *given)
    assert done == [("default", "cards", 0), ("default", "cards", 1)] and len(found) == 2
    found = recipe.run(["default", "cosine"], ["cards"], [1, 2], *given)
    assert done[2:] == [("default", "cards", 2), ("cosine", "cards", 1), ("cosine", "cards", 2)]
    assert len(found) == 4 and len(recipe.read(file)) == 5
    # A run of another budget is another run.
    monkeypatch.setitem(recipe.COMMON, "data.batch_size", 2)
    recipe.run(["default"], ["cards"], [1], *given)
    assert len(done) == 6


def test_a_run_of_adam_is_scored_once_more_with_each_setting_of_detection(tmp_path, monkeypatch):
    commands = []

    def cpu_seconds(command, environment):
        commands.append(command)
        if command[1] == "evaluate":
            scores = {"AP": 0.1 * len(commands), "AP50": 0.5}
            Path(command[command.index("--json") + 1]).write_text(json.dumps({"summary": scores}))
        return 7

    monkeypatch.setattr(recipe, "cpu_seconds", cpu_seconds)
    (tmp_path / "cards" / "ImageSets" / "Main").mkdir(parents=True)
    given = tmp_path, "w.h5", tmp_path / "runs.jsonl", ".", lambda line: None
    found = recipe.run(["adam"], ["cards"], [0], *given)
    assert [one["item"] for one in found] == ["adam", *recipe.DETECTION]
    assert [one["AP"] for one in found] == [0.2, 0.3, 0.4, 0.5] and len(commands) == 5
    assert all(one["cpu_seconds"] == 7 for one in found)
    assert found[2]["settings"]["detection.flip"] and "detection.flip=True" in found[2]["commands"][1]
    Config().replace({key: value for own in recipe.DETECTION.values() for key, value in own.items()})
    assert recipe.run(["adam"], ["cards"], [0], *given) == found and len(commands) == 5


def test_a_file_of_other_lines_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text(json.dumps(run_of("default", 0, 0.5)) + "\nnotes\n")
    with pytest.raises(ConfigError, match="notes.txt, line 2: not a run of this benchmark"):
        recipe.read(tmp_path / "notes.txt")


def test_the_table_has_means_spreads_and_gains_by_seed():
    runs = [run_of("adam", seed, score) for seed, score in enumerate((0.5, 0.6, 0.7))]
    runs += [run_of("cosine", seed, score) for seed, score in enumerate((0.54, 0.64, 0.77))]
    runs += [run_of("crop", 7, 0.9), run_of("default", 0, 0.3)]
    assert recipe.table(runs).splitlines()[2:] == [
        "| cards | adam | 3 | 30.0 ± 5.0 | +10.0 | 60.0 ± 10.0 | +20.0 | default | 100 |",
        "| cards | cosine | 3 | 32.5 ± 5.8 | +2.5 ± 0.9 | 65.0 ± 11.5 | +5.0 ± 1.7 | adam | 100 |",
        "| cards | crop | 1 | 45.0 |  | 90.0 |  |  | 100 |",
        "| cards | default | 1 | 15.0 |  | 30.0 |  |  | 100 |",
    ]


def test_the_command_prints_the_table(tmp_path, monkeypatch, capsys):
    def measure(item, data, seed, data_dir, weights, root, threads):
        return [run_of(item, seed, 0.25 + 0.1 * (item == "cosine"), data)]

    monkeypatch.setattr(recipe, "measure", measure)
    script = load_script("benchmark")
    line = (
        f"recipe --items adam,cosine --sets cards --seeds 0 --parallel 2 --runs {tmp_path / 'r.jsonl'}"
    )
    script.main([*line.split(), "--data-dir", "in", "--weights", "w.h5"])
    assert "| cards | cosine | 1 | 17.5 | +5.0 | 35.0 | +10.0 | adam | 100 |" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--items: 'cosin' is not one of default"):
        script.main([*line.replace("cosine", "cosin").split(), "--data-dir", "in", "--weights", "w.h5"])
