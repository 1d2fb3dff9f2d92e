"""Growth exponents of known functions, tables and charts of made-up figures."""

import json

import numpy as np
import pytest
from benchmark import scaling
from support import load_script

SIZES = np.array([1, 8, 32, 125, 500])


@pytest.mark.parametrize(
    "cost, expected",
    [
        (lambda n: 7.0 + 0.1 * n, 1.0),
        (lambda n: 0.1 * n**2, 2.0),
        (lambda n: 5.0 + n**0.5, 0.5),
    ],
)
def test_the_exponent_of_a_power_beside_a_fixed_cost(cost, expected):
    assert scaling.exponent(SIZES, cost(SIZES)) == pytest.approx(expected, abs=0.1)


def test_proportion_is_exactly_1():
    assert scaling.exponent(SIZES, 3.0 + 0.02 * SIZES) == pytest.approx(1.0, abs=1e-9)


def test_what_a_floor_hides_is_left_out():
    # 850 MiB to start with, in which the first 100 MiB of growth go unseen.
    peak = np.maximum(850.0, 750.0 + SIZES)
    assert scaling.exponent(SIZES, peak) is None
    sizes = np.array([1, 50, 100, 200, 400])
    assert scaling.exponent(sizes, np.maximum(850.0, 750.0 + sizes)) == pytest.approx(1.0)


def test_a_rise_within_noise_is_none():
    assert scaling.exponent(SIZES, [1.0, 0.99, 1.01, 1.02, 1.01]) is None
    assert scaling.exponent(SIZES, [1.0, 1.1, 1.1, 1.2, 1.3], spreads=[0.4] * 5) is None


def test_an_exponent_in_words():
    assert "FASTER" in scaling.judge(1.4) and "FASTER" not in scaling.judge(1.1)
    assert scaling.judge(0.5) == "size^0.50"
    assert scaling.judge(None) == "too little above noise to tell"


def figures():
    points = []
    for size in (1, 2, 4):
        step = {"median_s": 0.2 + 0.1 * size, "spread_s": [0.2, 0.2], "peak_mb": 800.0 + 100.0 * size}
        targets = {"median_s": 0.01 * size, "spread_s": [0.01 * size] * 2, "peak_mb": 700.0}
        points.append({"size": size, "name": str(size), "step": step, "targets": targets})
    return {"title": "images a batch", "points": points, "growth": scaling.growths(points)}


def test_growth_beyond_the_size_ends_with_a_status(tmp_path, monkeypatch):
    of_axis = figures() | {"growth": {"time": 1.0, "memory": None, "targets": 1.3}}
    monkeypatch.setattr(scaling, "measure", lambda *_: of_axis)
    assert load_script("benchmark").main(["scaling", "--axes", "batch"]) == 1


def test_the_growth_of_an_axis_goes_into_its_table():
    made = figures()
    assert made["growth"] == pytest.approx({"time": 1.0, "memory": 1.0, "targets": 1.0})
    table = scaling.table(made)
    assert "images a batch" in table and "0.6000" in table and "1200" in table and "40.0" in table
    assert "growth of time: size^1.00" in table


def test_a_chart_of_time_and_one_of_memory_for_each_axis():
    charts = scaling.charts({"tiny, batch": figures(), "tiny, rois": figures()})
    titles = ["tiny, batch", "tiny, batch", "tiny, rois", "tiny, rois"]
    assert [chart.title for chart in charts] == titles
    assert [chart.y_title for chart in charts] == ["seconds", "peak MiB"] * 2
    assert set(charts[0].lines) == {"step", "targets"}
    first = figures()["points"][0]
    assert charts[0].lines["step"][0] == (first["size"], first["step"]["median_s"])
    assert charts[3].lines["peak memory"][0] == (first["size"], first["step"]["peak_mb"])


def test_axes_vary_one_thing_each_about_the_base():
    axes = scaling.axes(320, 400)
    assert axes["area"].points[1] == (128000, "320x400", {"height": 320, "width": 400})
    assert {key for _, _, changes in axes["boxes"].points for key in changes} == {"boxes"}
    assert axes["boxes"].points[-1][0] == 500 and axes["classes"].points[-1][0] == 365
    for axis in axes.values():
        sizes = [size for size, _, _ in axis.points]
        assert sizes == sorted(sizes)


def test_the_script_keeps_the_axes_that_a_file_holds(tmp_path, monkeypatch):
    script, file = load_script("benchmark"), tmp_path / "figures.json"
    measured = []

    def measure(axis, spec, *_):
        measured.append((axis.title, spec["backbone"], spec["height"]))
        return figures()

    monkeypatch.setattr(scaling, "measure", measure)
    for name in ("batch", "rois"):
        script.main(["scaling", "--axes", name, "--json", str(file), "--plot", str(tmp_path / "s.png")])
    assert measured == [("images a batch", "tiny", 320), ("RoIs an image", "tiny", 320)]
    found = json.loads(file.read_text())
    assert list(found["axes"]) == ["tiny, batch", "tiny, rois"] and found["failed"] is False
    assert (tmp_path / "s.png").is_file()
