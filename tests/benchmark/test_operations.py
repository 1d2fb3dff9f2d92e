"""What a step does besides forward and backward passes: every part runs, and shares add up."""

import pytest
from test_worker import SPEC

from frcnn.benchmark.operations import operations, shares


def test_every_part_runs():
    parts = operations(SPEC)
    assert {"anchor targets", "RoI sampling and targets", "proposals", "logging"} <= set(parts)
    for function, times in parts.values():
        function()
        assert 0 < times <= 1
    assert parts["logging"][1] == pytest.approx(0.1)  # every tenth step


def test_shares_of_a_step():
    found = shares({"anchor targets": 0.01, "proposals": 0.03, "logging": 0.001}, 0.5)
    assert found["proposals"] == pytest.approx(0.06)
    assert found["all"] == pytest.approx(0.082)
    assert found["all but anchor targets"] == pytest.approx(0.062)
