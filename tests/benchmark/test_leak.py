"""Memory early and late in a run: how it is compared, and that a real run is watched."""

import pytest
from benchmark import leak

from frcnn.data import shapes


def test_the_end_is_compared_with_step_200():
    series = [500.0] * 100 + [1000.0] * 150 + [1040.0] * 50
    growth = leak.growth(series)
    assert (growth.first_mb, growth.last_mb, growth.leaks) == (1000.0, 1040.0, False)
    assert leak.growth([1000.0] * 250 + [1051.0] * 50).leaks
    found = growth.as_json()
    assert found["ratio"] == pytest.approx(1.04)
    assert found["every_100_steps_mb"] == [500.0, 1000.0, 1040.0]


def test_a_spike_in_one_step_is_no_leak():
    assert not leak.growth([1000.0] * 299 + [2000.0]).leaks


@pytest.mark.slow
def test_a_run_is_watched_step_by_step(tmp_path):
    shapes.make(tmp_path / "images", {"train": 4, "val": 2})
    values = {
        "data.dataset": "voc",
        "data.dir": str(tmp_path / "images"),
        "data.short_side": 48,
        "data.long_side": 64,
        "train.steps_per_epoch": 3,
        "train.epochs": 1,
    }
    growth = leak.watch(leak.config_of(300, values), tmp_path / "run")
    assert len(growth.series) == 3 and min(growth.series) > 100.0  # MiB
