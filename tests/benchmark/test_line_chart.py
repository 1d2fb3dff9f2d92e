"""Line charts: what is drawn, on which axes, and in how many rows."""

import numpy as np
import pytest
from benchmark.line_chart import HEIGHT, WIDTH, Lines, figure, save
from PIL import Image

TWO = Lines("AP50", "s", "score", {"ours": ((1.0, 0.2), (2.0, 0.8)), "peer": ((1.0, 0.1), (3.0, 0.7))})
ONE = Lines("cost", "pixels", "s", {"step": ((10, 1.0), (1000, 50.0))}, logarithmic=True)


def test_each_line_has_its_points_and_its_name():
    (axes,) = figure([TWO], 1).axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn == {"ours": [[1.0, 0.2], [2.0, 0.8]], "peer": [[1.0, 0.1], [3.0, 0.7]]}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ours", "peer"]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("AP50", "s", "score")


def test_axes_start_at_0_unless_they_are_logarithmic():
    plain, logarithmic = figure([TWO, ONE], 2).axes
    assert (plain.get_xlim()[0], plain.get_ylim()[0], plain.get_xscale()) == (0.0, 0.0, "linear")
    assert (logarithmic.get_xscale(), logarithmic.get_yscale()) == ("log", "log")
    assert logarithmic.get_legend() is None


@pytest.mark.parametrize("count, columns, shape", [(1, 3, (1, 1)), (3, 3, (1, 3)), (5, 3, (2, 3))])
def test_charts_in_rows(tmp_path, count, columns, shape):
    assert len(figure([ONE] * count, columns).axes) == count
    save([ONE] * count, columns, tmp_path / "chart.png")
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.size == (100 * WIDTH * shape[1], 100 * HEIGHT * shape[0])
        assert len(np.unique(np.asarray(picture))) > 2
