"""When a run stops early, by its metrics.csv, and that a run does."""

import contextlib
import dataclasses
import io

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


@pytest.mark.parametrize(
    "scores, patience, may_end, ends_at_0_3",
    [
        ([], 1, False, False),
        ([0.3], 1, True, True),  # as good is not better
        ([0.29], 1, True, False),
        ([0.3, 0.2], 3, False, False),
        ([0.3, 0.2, "", 0.1], 3, True, True),
        ([0.4, 0.2], 0, False, False),
        (["nan"], 1, False, False),
    ],
)
def test_the_validation_that_may_end_a_run_is_known_before(
    tmp_path, scores, patience, may_end, ends_at_0_3
):
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,mAP\n" + "".join(f"{n},{score}\n" for n, score in enumerate(scores, 1)))
    assert early_stopping.may_end(file, patience) == may_end
    assert early_stopping.ends(file, patience, 0.3) == ends_at_0_3
    assert not early_stopping.ends(file, patience, 0.9)
    assert not early_stopping.ends(file, patience, float("nan"))


def test_a_run_stops_and_a_resumed_one_stops_at_the_same_epoch(small_config, tmp_path, monkeypatch):
    scores = iter([0.2, 0.4, 0.3, 0.1, 0.9, 0.9])

    def validate(*given):
        means, result = original(*given)
        return means, dataclasses.replace(result, mean_ap=next(scores))

    original = trainer.validate
    monkeypatch.setattr(trainer, "validate", validate)
    config = small_config.replace(
        {"train.epochs": 6, "train.steps_per_epoch": 1, "train.patience": 2, "log.every": 6}
    )
    with contextlib.redirect_stdout(io.StringIO()):
        train_module.train(config, tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 4  # the best was the second
    # By log.every, pictures are due after the sixth epoch; the validation that ended the run has them.
    folder = str(tmp_path / "run" / "validation")
    board = EventAccumulator(folder, size_guidance={"tensors": 0}).Reload()
    steps = {tag: [event.step for event in board.Tensors(tag)] for tag in ("pictures/1", "mAP")}
    assert steps == {"pictures/1": [4], "mAP": [1, 2, 3, 4]}  # and HParams takes the last of mAP
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert train_module.train(config, tmp_path / "run", resume=True) is None
    assert "is finished: 4 steps" in told.getvalue()
    assert (tmp_path / "run" / "metrics.csv").read_text().splitlines() == lines


@pytest.mark.slow
def test_a_stopped_run_returns_its_last_validation(small_config, tmp_path):
    class Stop:
        results = []

        def on_epoch_end(self, trainer, result):
            self.results.append(result)
            if len(self.results) == 3:
                trainer.stop()

    values = {
        "train.epochs": 6,
        "train.steps_per_epoch": 1,
        "train.validate_every": 2,
        "log.pictures": 0,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        result = train_module.train(small_config.replace(values), tmp_path / "run", callbacks=[Stop()])
    first, second, third = Stop.results
    assert first is None and third is None and result is second is not None


def test_patience_goes_with_one_network():
    with pytest.raises(ConfigError, match="train.patience must be 0 with train.schedule=four-step"):
        Config().replace({"train.patience": 3, "train.schedule": "four-step"})
