"""Warnings about curves: each trouble in its words, once, and none for a healthy run."""

from types import SimpleNamespace

import pytest

from frcnn.training.curve_warnings import CurveWarnings

HEALTHY = {
    **{"total_loss": 1.0, "rpn/loss": 0.5, "classifier/loss": 0.5},
    **{"rpn/recall": 0.9, "classifier/positive_rois": 8.0},
}


def lines(means, val_means=None, epoch=2, phase=1, result=None, watch=None):
    watch = watch or CurveWarnings(("cat", "dog"), epochs=5)
    return watch.after_epoch(epoch, phase, HEALTHY | means, val_means or {}, result)


def test_a_low_recall_of_validation_alone_is_not_the_anchors():
    assert lines({}, {"rpn/recall": 0.4}) == []


def test_a_healthy_run_gets_no_warning():
    result = SimpleNamespace(objects=[3, 0], detections=[1, 0])  # no dog to find
    watch = CurveWarnings(("cat", "dog"), epochs=5)
    for epoch in range(1, 6):
        assert lines({"rpn/loss": 1.0 / epoch}, HEALTHY, epoch, 1, result, watch) == []
    assert lines({"total_loss": float("nan")}, HEALTHY) == []


@pytest.mark.parametrize(
    "means, val_means, says",
    [
        ({"rpn/recall": 0.2}, {"rpn/recall": 0.4}, "the RPN proposes only 40% of the objects"),
        ({"rpn/recall": 0.1}, {}, "the RPN proposes only 10% of the objects"),
        ({"classifier/positive_rois": 0.5}, {}, "the classifier gets 0.50 positive RoIs per image"),
        ({}, {"total_loss": 2.1}, "the loss is 2.100 in validation and 1.000 in training"),
    ],
)
def test_trouble_is_said_from_the_second_epoch_on_and_once(means, val_means, says):
    assert lines(means, val_means, epoch=1) == []
    watch = CurveWarnings(("cat", "dog"), epochs=5)
    (line,) = lines(means, val_means, watch=watch)
    assert line.startswith(says)
    assert lines(means, val_means, epoch=3, watch=watch) == []


@pytest.mark.parametrize("name", ["rpn", "classifier"])
def test_a_loss_that_rises_above_the_best_epoch(name):
    watch = CurveWarnings(("cat",), epochs=5)
    for epoch, loss in ((1, 0.5), (2, 0.4), (3, 0.5)):
        assert lines({f"{name}/loss": loss}, epoch=epoch, watch=watch) == []
    (line,) = lines({f"{name}/loss": 0.55}, epoch=4, watch=watch)
    assert line.startswith(f"the loss of the {name} rises: 0.550 on average in epoch 4, 0.400 in an")


def test_more_positive_rois_make_a_larger_loss_of_the_classifier():
    watch = CurveWarnings(("cat",), epochs=5)
    for epoch, loss, rois in ((1, 0.2, 1.0), (2, 0.6, 6.0), (3, 0.7, 8.0), (4, 0.6, 8.0)):
        means = {"classifier/loss": loss, "classifier/positive_rois": rois}
        assert lines(means, epoch=epoch, watch=watch) == []
    assert lines({"classifier/loss": 0.9}, epoch=5, watch=watch)


def test_each_phase_of_a_schedule_has_losses_of_its_own():
    watch = CurveWarnings(("cat",), epochs=5)
    assert lines({"rpn/loss": 1.0}, watch=watch) == []
    assert lines({"rpn/loss": 9.0}, phase=2, watch=watch) == []


def test_a_class_that_is_never_detected_is_named_at_the_end():
    result = SimpleNamespace(objects=[3, 4], detections=[1, 0])
    assert lines({}, epoch=4, result=result) == []
    (line,) = lines({}, epoch=5, result=result)
    assert line == "never detected, though there are objects: dog"
    watch = CurveWarnings(("cat", "dog"), epochs=5)
    assert watch.after_epoch(3, 1, HEALTHY, {}, result, is_last=True) == [line]  # by train.patience


def test_a_run_of_one_epoch_is_judged_by_it():
    assert lines({"rpn/recall": 0.1}, epoch=1, watch=CurveWarnings(("cat",), epochs=1))
