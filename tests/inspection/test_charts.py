"""Charts whose bars can be counted."""

import numpy as np

from frcnn.inspection import charts


def test_counts_as_text():
    lines = charts.counts("a title", ["one", "three"], np.array([2, 4])).text().splitlines()
    assert lines == ["a title", f"    one | {'#' * 25} 2", f"  three | {'#' * 50} 4"]


def test_shares_are_of_the_whole():
    lines = charts.shares("t", ["a", "b"], [0.5, 0.0]).text().splitlines()
    assert lines[1:] == [f"  a | {'#' * 25} 50.0%", "  b | 0.0%"]


def test_a_histogram_has_two_bins_an_octave():
    bars = charts.histogram("t", [1.0, 1.3, 1.5, 2.0, 7.9])
    assert [(label, value) for label, value, _ in bars.rows] == [
        ("1 to 1.41", 2),
        ("1.41 to 2", 1),
        ("2 to 2.83", 1),
        ("2.83 to 4", 0),
        ("4 to 5.66", 0),
        ("5.66 to 8", 1),
    ]


def test_values_on_an_edge_belong_to_the_bin_above():
    for power in range(-3, 8):
        ((label, _, _),) = charts.histogram("t", [2.0 ** (power / 2)]).rows
        assert label.startswith(f"{2 ** (power / 2):.3g} to")


def test_nothing_makes_an_empty_chart():
    assert charts.histogram("t", []).text() == "t"
    assert charts.counts("t", ["a"], [0]).text() == "t\n  a | 0"
    charts.histogram("t", []).picture()


def test_bars_in_a_picture_are_as_long_as_their_values():
    image = np.asarray(charts.counts("t", ["a", "b"], [10, 5]).picture())
    lengths = (image == charts.BAR).all(axis=2).sum(axis=1)
    assert sorted(set(lengths[lengths > 100])) == [charts.BAR_WIDTH / 2 + 1, charts.BAR_WIDTH + 1]


def test_pictures_stand_one_below_the_other():
    one, two = (charts.counts("t", ["a"] * rows, [1] * rows).picture() for rows in (1, 3))
    both = charts.stack([one, two])
    assert both.size == (max(one.width, two.width), one.height + two.height)
    np.testing.assert_array_equal(np.asarray(both)[one.height :, : two.width], np.asarray(two))
