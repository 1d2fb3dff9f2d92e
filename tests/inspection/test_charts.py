"""Charts whose bars can be counted."""

import numpy as np
import pytest
from PIL import Image

from frcnn.inspection import charts, fonts


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
    charts.figure([charts.histogram("t", [])]).canvas.draw()


def test_bars_in_a_picture_are_as_long_as_their_values():
    both = charts.figure([charts.counts("t", ["a", "b"], [10, 5]), charts.shares("u", ["c"], [0.5])])
    counts, shares = both.axes
    assert [bar.get_width() for bar in counts.patches] == [10, 5] and counts.yaxis_inverted()
    assert [label.get_text() for label in counts.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in counts.texts] == ["10", "5"]
    assert shares.get_xlim()[1] == pytest.approx(1.15)


def test_a_picture_shows_any_class_name(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    fonts.find_font.cache_clear()
    charts.save(
        [charts.counts("t", ["$x$", "a_b^", "\u732b", "\u03b3"], [1, 2, 3, 4])], tmp_path / "a.png"
    )
    fonts.find_font.cache_clear()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == charts.WIDTH * charts.DPI
    assert not [warning for warning in recwarn if "missing from" in str(warning.message)]


def test_a_picture_of_many_classes_is_within_the_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr(charts, "MAX_PIXELS", 200)
    charts.save([charts.counts("t", range(20), range(20))], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.height <= 200
