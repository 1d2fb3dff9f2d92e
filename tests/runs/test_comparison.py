"""Comparison of runs, from their config and ``metrics.csv``."""

from pathlib import Path

import pytest

from frcnn.config.presets import preset
from frcnn.errors import RunError
from frcnn.runs import comparison, metrics_csv, run_directory


def make_run(folder, rows, **settings):
    """Write what ``frcnn compare`` reads of a run."""
    folder.mkdir(parents=True)
    changes = {"data.classes": ("cat", "dog")} | {k.replace("__", "."): v for k, v in settings.items()}
    run_directory.write_config(folder, {}, preset("shapes").replace(changes))
    for row in rows:
        metrics_csv.append_row(folder / "metrics.csv", row)
    return folder


@pytest.fixture
def runs(tmp_path):
    """Return two runs: one of two epochs whose first was best, and one of one epoch."""
    first = [
        {"epoch": 1, "step": 10, "mAP": 0.5, "AP/cat": 0.6, "AP/dog": 0.4, "train/total_loss": 2.0},
        {"epoch": 2, "step": 20, "mAP": 0.4, "AP/cat": 0.5, "AP/dog": 0.3, "train/total_loss": 1.0},
    ]
    second = [{"epoch": 1, "step": 10, "mAP": 0.7, "AP/cat": 0.7, "AP/dog": None}]
    make_run(tmp_path / "a" / "run", first)
    make_run(tmp_path / "b" / "run", second, optimizer__learning_rate=0.5)
    return comparison.read_runs([tmp_path / "a" / "run", tmp_path / "b" / "run"])


def test_runs_of_one_name_are_told_apart(runs):
    assert [run.name for run in runs] == ["a/run", "b/run"]
    assert comparison.short_names([Path("/r/one"), Path("/r/two")]) == ["one", "two"]


def test_only_settings_that_differ(runs):
    assert comparison.changed_settings(runs) == [("optimizer.learning_rate", ["0.001", "0.5"])]


def test_scores_are_of_the_best_epoch(runs):
    scores = dict(comparison.scores(runs))
    assert scores["best mAP"] == [0.5, 0.7] and scores["of epoch"] == [1, 1]
    assert scores["AP/dog"] == [0.4, None]
    assert scores["last mAP"] == [0.4, 0.7] and scores["train loss"] == [1.0, None]
    assert "validation loss" not in scores  # neither has any


def test_a_table_has_one_column_per_run():
    table = comparison.format_table("score", ["a", "b\x1b"], [("mAP", ["0.5000", "-"])])
    assert table.splitlines()[1].split() == ["mAP", "0.5000", "-"]


@pytest.mark.parametrize(
    "value, text", [(None, "-"), (3.0, "3"), (1.0, "1.0000"), (345.6, "346"), (0.12345, "0.1235")]
)
def test_numbers_as_text(value, text):
    assert comparison.written(value) == text


def test_what_is_no_run_is_named(runs, tmp_path):
    with pytest.raises(RunError, match="nothing is not a training run"):
        comparison.read_runs([runs[0].path, tmp_path / "nothing"])
    with pytest.raises(RunError, match="is given twice"):
        comparison.read_runs([runs[0].path, runs[0].path])


def test_damaged_metrics_have_the_numbers_that_can_be_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,mAP\n1,0.5\n2,\nx,inf\n3,0.7,0.8\n4,0.")
    rows = metrics_csv.read_numbers(path)
    assert [(row["step"], row["mAP"]) for row in rows] == [(1, 0.5), (2, None), (None, None), (3, 0.7)]
    path.write_text("")
    assert metrics_csv.read_numbers(path) == metrics_csv.read_numbers(tmp_path / "missing") == []
