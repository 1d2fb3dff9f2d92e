"""Warnings of settings and data that are legal and cannot work, and of a loss that explodes."""

import dataclasses

import numpy as np
import pytest

from frcnn.config.schema import Config
from frcnn.data.sample import Dataset, Sample
from frcnn.ops.anchors import AnchorGenerator
from frcnn.runs.run_state import RunState
from frcnn.training import sanity_checks


def dataset(*images, name="some train"):
    """A data set of 600 x 600 images, which are not resized; an image is a list of (side, difficult)."""
    samples = []
    for number, objects in enumerate(images):
        boxes = np.array([[0, 0, side, side] for side, _ in objects], "float32").reshape(-1, 4)
        marks = np.array([mark for _, mark in objects], bool)
        labels = np.zeros(len(objects), "int32")
        samples.append(Sample(f"{number}", f"{number}.jpg", 600, 600, boxes, labels, marks))
    return Dataset(name, ("thing",), tuple(samples))


GOOD = dataset([(200, False)])


def warned(train=GOOD, val=GOOD, steps=1000, **values):
    config = Config().replace({key.replace("__", "."): value for key, value in values.items()})
    return sanity_checks.warnings_of(
        config, AnchorGenerator(strides=(16,), **vars(config.anchors)), train, val, steps
    )


def test_without_a_reason_there_is_no_warning():
    assert warned() == []
    # Half of the boxes unmatched, one box not difficult, warm-up up to the cut of the rate.
    mixed = dataset([(200, False), (20, False)], [], [(200, True)])
    assert warned(mixed, mixed, steps=200, optimizer__warmup_steps=150) == []


def test_a_warm_up_that_does_not_end():
    (text,) = warned(steps=120)  # the rate is cut after 90, amid the 100 of the warm-up
    assert text.startswith("the warm-up of 100 steps (optimizer.warmup_steps) is longer than")
    assert "longer than the 90 steps" in text
    assert "reaches only 0.0009, not 0.001" in text
    (text,) = warned(steps=50, optimizer__decay_at="")
    assert "longer than the 50 steps" in text and "reaches only 0.0005" in text
    # Each phase has a quarter of the steps and a warm-up of its own.
    assert warned(steps=400) == []
    (text,) = warned(steps=400, train__schedule="four-step")
    assert "longer than the 75 steps" in text


def test_training_boxes_that_are_all_difficult():
    (text,) = warned(dataset([(200, True)], [(300, True), (200, True)]))
    assert text.startswith("all 3 boxes of some train are marked difficult")


@pytest.mark.parametrize(
    "images, why", [([[]], "no box"), ([[(200, True)], []], "only boxes marked difficult (1)")]
)
def test_a_validation_split_without_objects(images, why):
    (text,) = warned(val=dataset(*images, name="some val"))
    assert text.startswith(f"some val has {why}, so there is no object to find: mAP will be nan")


def test_anchors_that_match_nothing():
    # An anchor of side 128 overlaps a box of side 60 by (60/128)^2 = 0.22, one of 80 by 0.39.
    assert warned(dataset([(80, False)] * 3)) == []
    (text,) = warned(dataset([(60, False)] * 3, [(60, True)]))
    assert text.startswith("3 of the 3 boxes of some train cannot have an IoU of 0.3")
    assert "sides of 128 to 512 pixels" in text and "boxes have sides of 60 to 60" in text
    assert warned(dataset([(60, False)] * 3), anchors__sizes="64") == []
    # Boxes are measured where anchors are: after resizing.
    (text,) = warned(dataset([(200, False)]), data__short_side=100, data__long_side=100)
    assert "boxes have sides of 33 to 33" in text


def losses(*values, progress=None):
    """Return the progress and (step, warning) of each warning."""
    progress, found = progress or RunState(), []
    for loss in values:
        progress.step += 1
        if text := sanity_checks.watch_loss(progress, {"total_loss": loss}, progress.step):
            found.append((progress.step, text))
    return progress, found


def test_a_loss_that_explodes_is_said_once():
    progress, found = losses(*[2.0] * 20, *[21.0] * 100, *[1e9] * 100)
    ((step, text),) = found
    # The running loss is 21 - 19 * 0.9^n after n of these, above 20 from n = 28 on.
    assert step == 48
    assert "times the mean of the first 20 steps" in text and f"step {step}: " in text


def test_a_single_high_loss_is_no_explosion_and_a_falling_loss_neither():
    assert losses(*[2.0] * 20, 150.0, *[2.0] * 50)[1] == []
    assert losses(*np.linspace(8.0, 0.1, 500))[1] == []
    assert losses(*[0.0] * 100)[1] == []


def test_an_explosion_is_seen_over_an_interruption():
    progress, _ = losses(*[2.0] * 20)
    again = RunState.from_json(progress.to_json())
    assert [step for step, _ in losses(*[1000.0] * 5, progress=again)[1]] == [21]
    # A checkpoint of an earlier version has no such state.
    old = progress.to_json()
    del old["loss"]
    assert RunState.from_json(old).loss == RunState().loss


def test_oriented_boxes_without_an_angle():
    (text,) = warned(box__kind="oriented")
    assert text.startswith("box.kind=oriented, but no object of some train has an angle")
    turned = np.array([[100, 100, 200, 200, 0.5]], "float32")
    angled = dataclasses.replace(GOOD.samples[0], oriented=turned)
    assert warned(dataclasses.replace(GOOD, samples=(angled,)), box__kind="oriented") == []
