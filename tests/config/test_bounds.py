"""The bounds of settings: each number has them, and the error names setting, value and bound."""

import typing

import pytest

from frcnn.config import bounds
from frcnn.config.schema import KEYS, Config
from frcnn.errors import ConfigError


def test_every_number_has_bounds_that_its_default_keeps():
    numbers = {key for key, kind in KEYS.items() if {int, float} & {kind, *typing.get_args(kind)}}
    assert bounds.BOUNDS.keys() == numbers
    lists = {key for key, kind in KEYS.items() if typing.get_args(kind)}
    assert bounds.LENGTHS.keys() == lists
    bounds.check(Config().get)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("data.batch_size", 0, "must be at least 1, not 0"),
        ("rpn.nms_iou", 1.5, "must be between 0 and 1, not 1.5"),
        ("detection.ap_iou", 0.0, "must be above 0, not 0"),
        ("optimizer.momentum", 1.0, "must be below 1, not 1"),
        ("anchors.sizes", (32.0, 0.0), "must be above 0, not 32,0"),
        ("anchors.sizes", (), "needs 1 to 64 values, not 0"),
        ("roi.delta_weights", (1.0, 2.0), "needs 4 values, not 2"),
        # What a stranger's detector file may ask for: memory.
        ("detection.max_detections", 10**9, "must be at most 65536, not 1000000000"),
        ("model.head_width", 10**9, "must be at most 16384, not 1000000000"),
        ("data.classes", tuple(map(str, range(20_000))), "needs 0 to 16384 values, not 20000"),
    ],
)
def test_a_value_out_of_bounds_is_named(key, value, says):
    with pytest.raises(ConfigError) as caught:
        Config().replace({key: value})
    assert str(caught.value) == f"{key} {says}"
