"""What the writer of a run makes by its settings."""

from types import SimpleNamespace

import pytest

from frcnn.config.schema import Config
from frcnn.errors import ConfigError
from frcnn.runs.run_state import RunState
from frcnn.runs.writer import RunWriter, trackers


def begin(folder, kinds):
    config = Config().replace({"log.trackers": kinds})
    writer = RunWriter(folder, SimpleNamespace(is_main=True), None, config, ("cat",))
    writer.begin({}, False, RunState(), None, {})
    return writer.logger.trackers


def test_trackers_are_made_as_configured(tmp_path, monkeypatch):
    monkeypatch.setattr(
        trackers, "make", lambda kind, name, config: (kind, name, config["train.epochs"])
    )
    run = tmp_path / "first"
    run.mkdir()
    assert begin(run, "wandb,mlflow") == [("wandb", "first", 16), ("mlflow", "first", 16)]
    assert begin(run, "") == []


def test_a_tracker_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    def missing(*_):
        raise ImportError("the tracker wandb needs its package")

    monkeypatch.setattr(trackers, "make", missing)
    with pytest.raises(ConfigError, match="^the tracker wandb needs its package$"):
        begin(tmp_path, "wandb")
