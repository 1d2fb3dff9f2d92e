"""Charts: what lies where, and how many points a line has."""

import re

import numpy as np
import pytest

from frcnn.report import svg


def points_of(chart):
    return [
        [tuple(map(float, point.split(","))) for point in line.split()]
        for line in re.findall(r'<polyline points="([^"]*)"', chart)
    ]


def test_the_ends_of_a_line_lie_at_the_ends_of_the_axes():
    chart = svg.line_chart("title", ("x", "y"), [("a", [(0, 0), (1, 1)])], size=(400, 300))
    left, right = svg.LEFT, 400 - svg.RIGHT
    assert points_of(chart) == [[(left, 300 - svg.BOTTOM), (right, svg.TOP)]]
    assert 'aria-label="title"' in chart and "legend" not in chart


def test_points_that_are_no_numbers_are_left_out():
    chart = svg.line_chart("t", ("x", "y"), [("a", [(0, 0), (0.5, float("nan")), (1, 1)]), ("b", [])])
    assert [len(line) for line in points_of(chart)] == [2, 0]
    assert "legend" in chart


def test_long_lines_are_thinned_and_keep_their_ends():
    line = [(x, x) for x in np.linspace(0, 1, 10_000)]
    kept = svg.thinned(line)
    assert len(kept) == svg.MAX_POINTS and (kept[0], kept[-1]) == ((0.0, 0.0), (1.0, 1.0))
    # No text is cut within a line, however long it is.
    assert len(points_of(svg.line_chart("t", ("x", "y"), [("a", line)]))[0]) == svg.MAX_POINTS


@pytest.mark.parametrize(
    "ends, ticks",
    [
        ((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ((0.5, 0.95), [0.5, 0.6, 0.7, 0.8, 0.9]),
        ((0, 1200), [0, 200, 400, 600, 800, 1000, 1200]),
        ((3, 3), [3]),
    ],
)
def test_ticks_are_round(ends, ticks):
    assert svg._ticks(ends) == ticks


def test_bars_are_shares_of_the_largest():
    text = svg.bars("t", [("a", 4.0, "4"), ("b", 1.0, "1"), ("c", -1.0, "-1"), ("d", float("nan"), "-")])
    assert re.findall(r"width:([0-9.]+)%", text) == ["100.0", "25.0", "0.0", "0.0"]
