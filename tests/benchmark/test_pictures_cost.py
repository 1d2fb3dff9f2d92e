"""What pictures cost: every second epoch has them, and the share is that of an epoch of all images."""

import contextlib
import io

import pytest
from benchmark import pictures
from benchmark.pictures import Epoch


def test_the_share_is_that_of_an_epoch_of_all_images():
    with_them, without = Epoch(21.0, 8.0, 4, 1.0, True), Epoch(20.0, 8.0, 4, 0.0, False)
    found = pictures.figures([without, with_them] * 2, full_steps=39)
    assert found["median_s"] == {"with": 21.0, "without": 20.0} and found["difference_s"] == 1.0
    assert (found["step_s"], found["validation_s"], found["full_epoch_s"]) == (2.0, 12.0, 90.0)
    assert found["share"] == pytest.approx(1 / 91)
    assert "pictures are 1.10% of it" in pictures.text(found)


def test_every_second_epoch_of_a_run_has_pictures(shapes_folder, small_config):
    settings = {
        key: small_config.get(key)
        for key in ("model.backbone", "model.weights", "model.rpn_channels", "model.head_width")
    }
    more = {"data.short_side": 64, "train.steps_per_epoch": 1, "anchors.sizes": (16, 32)}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        found = pictures.measure(shapes_folder, 1, settings | more)
    first, second = found["epochs"]
    assert (first["has_pictures"], second["has_pictures"]) == (False, True)
    assert first["clocked"] < 0.1 * second["clocked"] and second["clocked"] < second["seconds"]
    assert 0 < found["share"] < 1 and found["full_steps"] > 1
