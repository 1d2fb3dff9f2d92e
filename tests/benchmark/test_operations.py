"""What a step does besides forward and backward passes: every part runs, and shares add up."""

import pytest
from benchmark.operations import operations, optimizers_of, shares
from benchmark.worker import config_of
from test_worker import SPEC

from frcnn.models.faster_rcnn import FasterRCNN
from frcnn.training.trainer import SCHEDULES


def test_every_part_runs():
    parts = operations(SPEC)
    names = {"anchor targets", "RoI sampling and targets", "proposals", "logging", "optimizer"}
    assert names <= set(parts)
    for function, times in parts.values():
        function()
        assert 0 < times <= 1
    assert parts["logging"][1] == pytest.approx(0.1)  # every tenth step


def test_shares_of_a_step():
    seconds = {"anchor targets": 0.01, "proposals": 0.03, "logging": 0.001, "optimizer": 0.02}
    found = shares(seconds, 0.5)
    assert found["proposals"] == pytest.approx(0.06)
    assert found["all"] == pytest.approx(0.122)
    assert found["in the step"] == pytest.approx(0.102)
    assert found["and without the optimizer"] == pytest.approx(0.062)


@pytest.mark.parametrize("schedule", ["alternating", "joint"])
def test_the_optimizers_part_is_a_step_of_each(schedule):
    config = config_of(SPEC)
    made = SCHEDULES[schedule](FasterRCNN.from_config(config, 5), config, 100)
    run = optimizers_of(made)
    before = [variable.numpy() for step in made.step_models for variable in step.trainable_variables]
    run()
    run()
    after = [variable.numpy() for step in made.step_models for variable in step.trainable_variables]
    assert all((old != new).any() for old, new in zip(before, after))
    assert [int(optimizer.iterations) for optimizer in made.optimizers.values()] == [2, 2]
