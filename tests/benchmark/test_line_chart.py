"""Line charts: where points land, and which numbers an axis shows."""

import numpy as np
import pytest

from frcnn.benchmark.line_chart import COLOURS, HEIGHT, WIDTH, Lines, grid, nice, short


def test_a_line_is_drawn_in_its_colour():
    chart = Lines("AP50", "s", "", {"ours": ((1.0, 0.2), (2.0, 0.8)), "peer": ((1.0, 0.1), (3.0, 0.7))})
    pixels = np.asarray(chart.picture())
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    rows, columns = np.nonzero((pixels == COLOURS[0]).all(axis=-1))
    line = columns > WIDTH // 4  # right of the name
    assert line.sum() > 50
    assert rows[line][columns[line].argmax()] < rows[line][columns[line].argmin()]  # it rises
    assert (pixels == COLOURS[1]).all(axis=-1).any()


@pytest.mark.parametrize("logarithmic", [False, True])
def test_one_point_is_a_chart_too(logarithmic):
    Lines("", "", "", {"one": ((5.0, 3.0),)}, logarithmic).picture()


def test_round_steps():
    assert [nice(extent) for extent in (1.0, 1000.0, 7.0, 0.0)] == [0.2, 200.0, 2.0, 1.0]


def test_few_letters():
    assert [short(n) for n in (1_200_000, 30_000, 0.05, 12)] == ["1.2M", "30k", "0.05", "12"]


def test_pictures_in_rows():
    picture = Lines("", "", "", {"one": ((1, 1),)}).picture()
    assert grid([picture] * 5, columns=3).size == (3 * WIDTH, 2 * HEIGHT)
    assert grid([picture], columns=3).size == (WIDTH, HEIGHT)
