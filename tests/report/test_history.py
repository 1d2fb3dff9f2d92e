"""Charts of what a run logged after each epoch."""

from frcnn.report import history

ROWS = [
    {"step": 10.0, "mAP": 0.5, "train/total_loss": 2.0, "validation/total_loss": 3.0},
    {"step": 20.0, "mAP": None, "train/total_loss": 1.0},
    {"step": 30.0, "mAP": 0.4, "train/total_loss": 0.5, "validation/total_loss": 4.0},
]


def test_a_curve_has_the_epochs_that_have_a_value():
    assert history.curve(ROWS, "mAP") == [(10.0, 0.5), (30.0, 0.4)]
    assert history.curve(ROWS, "time/step") == []


def test_losses_of_training_and_validation_share_a_chart():
    html = history.charts(ROWS)
    assert html.count("<figure>") == 2  # nothing of the scalars that the run did not log
    loss = html[html.index("<figcaption>total_loss</figcaption>") :]
    assert loss.count("<polyline") == 2 and loss.count("<circle") == 5
    assert "train</li>" in loss and "validation</li>" in loss


def test_an_axis_of_shares_ends_at_one():
    assert ">1</text>" in history.chart("rpn/recall", [("train", [(30.0, 0.1)])])
    assert ">1</text>" not in history.chart("rpn/loss", [("train", [(30.0, 0.1)])])
