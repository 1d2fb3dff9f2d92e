"""When a run stops early, by its metrics.csv, and that a run does."""

import contextlib
import dataclasses
import io

import pytest

from frcnn.config.schema import Config
from frcnn.errors import ConfigError
from frcnn.training import early_stopping, trainer
from frcnn.training import train as train_module


@pytest.mark.parametrize(
    "scores, patience, over",
    [
        ([], 1, False),
        ([0.1], 1, False),
        ([0.3, 0.2], 1, True),
        ([0.3, 0.3], 1, True),  # as good is not better
        ([0.3, 0.2], 2, False),
        ([0.3, 0.2, 0.29], 2, True),
        ([0.3, 0.2, 0.31], 2, False),
        ([0.3, 0.2, 0.1, 0.1], 0, False),
        ([0.3, "", "", 0.2], 2, False),  # epochs without validation
        (["nan", "nan", "nan"], 1, False),
    ],
)
def test_a_run_is_over_after_validations_without_a_better_map(tmp_path, scores, patience, over):
    file = tmp_path / "metrics.csv"
    assert not early_stopping.is_over(file, patience)
    file.write_text("epoch,mAP\n" + "".join(f"{n},{score}\n" for n, score in enumerate(scores, 1)))
    assert early_stopping.is_over(file, patience) == over


def test_a_run_stops_and_a_resumed_one_stops_at_the_same_epoch(small_config, tmp_path, monkeypatch):
    scores = iter([0.2, 0.4, 0.3, 0.1, 0.9, 0.9])

    def validate(*given):
        means, result = original(*given)
        return means, dataclasses.replace(result, mean_ap=next(scores))

    original = trainer.validate
    monkeypatch.setattr(trainer, "validate", validate)
    config = small_config.replace(
        {"train.epochs": 6, "train.steps_per_epoch": 1, "train.patience": 2, "log.pictures": 0}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        train_module.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 4  # the best was the second
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert train_module.train(config, tmp_path / "run", resume=True) is None
    assert "is finished: 4 steps" in told.getvalue()
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines() == lines


def test_patience_goes_with_one_network():
    with pytest.raises(ConfigError, match="train.patience must be 0 with train.schedule=four-step"):
        Config().replace({"train.patience": 3, "train.schedule": "four-step"})
