"""What the line of progress and the last lines show."""

import re

from frcnn.logging.running_mean import RunningMean
from frcnn.runs.run_state import RunState
from frcnn.training.progress_bar import ProgressBar, best_epoch, duration, time_spent


def test_the_line_has_losses_map_speed_memory_and_time_left():
    means = RunningMean()
    means.add({"rpn/loss": 0.25, "classifier/loss": 0.5, "total_loss": 0.75})
    state = RunState(step=10, epoch=1, finished_step=10, means=means)
    with ProgressBar(state, 10, 4, 3, mean_ap=0.5, is_shown=False) as bar:
        bar.step(state)  # the first step compiles: the time counts from its end
        bar._started -= 4.0  # two steps in four seconds, so 28 more take 56
        state.step = 12
        text = bar.text(state)
    pattern = (
        r"rpn 0.250, cls 0.500, loss 0.750, mAP 0.500, 1.5 images/s, (GPU )?\d+.\d GiB, run 56 s left"
    )
    assert re.fullmatch(pattern, text)


def test_before_a_validation_there_is_no_map():
    with ProgressBar(RunState(), 10, 4, 3, mean_ap=float("nan"), is_shown=False) as bar:
        assert "mAP" not in bar.text(RunState(step=1))


def test_losses_that_have_not_been_read_are_not_shown():
    with ProgressBar(RunState(), 10, 4, 3, mean_ap=0.5, is_shown=False) as bar:
        text = bar.text(RunState(step=1))
    assert re.fullmatch(r"mAP 0.500, (GPU )?\d+.\d GiB", text)  # nor is a speed, after one step


def test_durations():
    seconds = (0.4, 59, 60, 3599, 7500)
    assert [duration(one) for one in seconds] == ["0 s", "59 s", "1 min", "1 h 00 min", "2 h 05 min"]


def test_best_epoch_is_read_from_the_table(tmp_path):
    table = tmp_path / "metrics.csv"
    assert best_epoch(table) is None
    table.write_text("epoch,mAP\n1,nan\n2,\n")
    assert best_epoch(table) is None
    table.write_text("epoch,mAP\n1,0.25\n2,0.5\n3,\n4,0.375\n")
    assert best_epoch(table) == "best mAP: 0.5000 after epoch 2; the last: 0.3750 after epoch 4"
    table.write_text("epoch,mAP\n1,0.25\n")
    assert best_epoch(table) == "best mAP: 0.2500 after epoch 1"


def test_the_time_of_training_and_of_this_start_are_told_apart():
    state = RunState(step=40, seconds=20.0, waited=1.0)
    assert time_spent(state, 31.2) == (
        "40 steps, 20 s of training, 5.0% of it waiting for data; 31 s since this start"
    )
