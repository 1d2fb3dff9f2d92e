"""``--find-lr``: a rate that rises, the loss at each rate, and the rate that is suggested."""

import csv

import numpy as np
import pytest

from frcnn.cli import train
from frcnn.errors import ConfigError, OutputError
from frcnn.training import lr_finder


def test_the_rate_rises_by_one_factor():
    rate = lr_finder.RisingLR(1e-4, 1.0, 5)
    np.testing.assert_allclose(
        [float(rate(n)) for n in range(5)], [1e-4, 1e-3, 1e-2, 1e-1, 1], rtol=1e-5
    )
    again = lr_finder.RisingLR.from_config(rate.get_config())
    assert float(again(3)) == float(rate(3))


def test_the_steepest_fall_is_found():
    rates = np.geomspace(1e-6, 1, 100)
    position = np.log10(rates)
    loss = 3 - 2 / (1 + np.exp(-4 * (position + 3))) + np.where(position > -1, 10 * (position + 1), 0)
    assert lr_finder.steepest(rates, loss) == pytest.approx(1e-3, rel=0.2)
    assert lr_finder.steepest(rates, np.linspace(1, 2, 100)) is None


def test_the_running_mean_starts_with_the_first_loss():
    assert lr_finder.smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert lr_finder.smoothed([1.0, 2.0])[1] == pytest.approx((0.9 + 2.0) / 1.9)


def test_the_command_suggests_a_rate(small_config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(lr_finder, "STEPS", 24)
    (tmp_path / "settings.json").write_text(small_config.to_json())
    line = ["--config", str(tmp_path / "settings.json"), "--find-lr", "--out", str(tmp_path / "found")]
    train.main([*line, "--set", "optimizer.name=sgd"])
    assert "learning rate" in capsys.readouterr().out
    with (tmp_path / "found" / lr_finder.TABLE).open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert 10 <= len(rows) <= 24 and rows[0]["learning_rate"] == pytest.approx(1e-6)
    assert all(one["learning_rate"] < other["learning_rate"] for one, other in zip(rows, rows[1:]))
    assert {path.name for path in (tmp_path / "found").iterdir()} - {".lock"} == {
        lr_finder.CHART,
        lr_finder.TABLE,
    }
    with pytest.raises(OutputError, match=f"{lr_finder.CHART} exists already"):
        train.main(line)


@pytest.mark.parametrize("option", ["--resume --out {}", "--workers-per-node 2"])
def test_it_is_a_run_of_its_own(tmp_path, option):
    with pytest.raises(ConfigError, match="--find-lr cannot be used with --resume"):
        train.main(f"--find-lr {option.format(tmp_path)}".split())


def test_four_step_has_no_one_rate(small_config, tmp_path):
    (tmp_path / "settings.json").write_text(small_config.to_json())
    with pytest.raises(ConfigError, match="alternating and joint"):
        train.main(
            ["--config", str(tmp_path / "settings.json"), "--find-lr", "--schedule", "four-step"]
            + ["--out", str(tmp_path / "found")]
        )
