"""Steps stay on the device until they are logged, and each is then logged with its own scalars."""

from types import SimpleNamespace

import pytest

from frcnn.config.schema import TrainConfig
from frcnn.errors import RunError
from frcnn.runs.run_state import RunState
from frcnn.training.step_log import StepLog


class Scalars(dict):
    """Scalars of a step, which note that they were read."""

    def __init__(self, step, read, applied=True):
        super().__init__({"total_loss": float(step)})
        self.step, self.steps_read, self.was_applied = step, read, applied

    @property
    def applied(self):
        self.steps_read.append(self.step)
        return self.was_applied


@pytest.fixture
def log(tmp_path):
    """Return a function from settings and skipped steps to what happened in 25 steps."""

    def go(skipped=(), **values):
        written, recorded, read, late = {}, [], [], []
        writer = SimpleNamespace(
            run_dir=tmp_path,
            write_scalars=lambda run, step, scalars: written.update({step: scalars["total_loss"]}),
            record_nonfinite_step=lambda step, images, _: recorded.append((step, images)),
        )
        group = SimpleNamespace(gather_json=lambda names: [names])
        step_log, state = StepLog(TrainConfig(**values), writer, group), RunState()
        for step in range(1, 26):
            if step_log.is_due():  # as the trainer: step ``step`` is on the device already
                step_log.read(state)
                late.append(step)
            batch = SimpleNamespace(samples=[SimpleNamespace(name=f"image {step}")])
            step_log.add(step, batch, Scalars(step, read, step not in skipped))
        assert not set(read) & {25}  # the last was not to be logged
        step_log.read(state)
        return SimpleNamespace(written=written, recorded=recorded, late=late, state=state)

    return go


def test_the_host_reads_one_step_after_a_logged_one(log):
    found = log(log_every=10)
    assert found.late == [2, 11, 21]
    assert found.written == {1: 1.0, 10: 10.0, 20: 20.0}
    assert found.state.means["total_loss"] == pytest.approx(13.0)  # of all 25, read or logged late


def test_the_host_is_ahead_by_a_bounded_number_of_steps(log):
    assert log(log_every=1000).late == [2, 12, 22]  # max_nonfinite_steps
    assert log(log_every=1000, max_nonfinite_steps=3).late == [2, 5, 8, 11, 14, 17, 20, 23]


def test_a_skipped_step_is_recorded_with_its_own_images(log):
    found = log(skipped=(4, 13), log_every=10)
    assert found.recorded == [(4, ["image 4"]), (13, ["image 13"])]
    assert found.written == {1: 1.0, 4: 4.0, 10: 10.0, 13: 13.0, 20: 20.0}
    assert found.state.nonfinite_in_a_row == 0 and found.state.means.weights["total_loss"] == 23


def test_too_many_skipped_steps_in_a_row_end_the_run(log):
    with pytest.raises(RunError, match="not finite in 3 steps in a row"):
        log(skipped=(7, 8, 9), max_nonfinite_steps=3)
    assert len(log(skipped=(7, 8, 10), max_nonfinite_steps=3).recorded) == 3
