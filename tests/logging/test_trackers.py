"""Trackers: each gets every scalar and picture under the same name; one that fails is left out."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from frcnn.logging import RunLogger, trackers

PIXELS = np.zeros((4, 6, 3), np.uint8)


@pytest.fixture
def package(monkeypatch):
    """Return a function that puts a package of recording functions in the place of a real one."""

    def put(name, functions):
        calls = []

        def recording(function):
            return lambda *args, **options: calls.append((function, args, options))

        fake = {function: recording(function) for function in functions}
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**fake, Image=lambda pixels: "picture"))
        return calls

    return put


def log(folder, tracker):
    with RunLogger(folder, trackers=[tracker]) as logger:
        logger.write("train", 1, {"rpn/loss": np.float32(0.5), "total_loss": float("nan")})
        logger.write_images("validation", 2, {"pictures/1": PIXELS})


def test_csv_gets_a_row_for_each_scalar_and_is_appended_to(tmp_path):
    for _ in range(2):
        log(tmp_path / "run", trackers.CsvTracker(tmp_path / "scalars.csv"))
    rows = ["train,1,rpn/loss,0.5", "train,1,total_loss,nan"]
    assert (tmp_path / "scalars.csv").read_text().splitlines() == ["run,step,tag,value", *rows, *rows]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio(tmp_path, package, name):
    calls = package(name, ("init", "define_metric", "log", "finish"))
    log(tmp_path, trackers.make(name, "first", {"train.epochs": 2}))
    begin, scalars, images, end = (call for call in calls if call[0] != "define_metric")
    assert begin[2] == {"project": "frcnn", "name": "first", "config": {"train.epochs": 2}}
    (logged,) = scalars[1]
    assert np.isnan(logged.pop("train/total_loss"))
    if name == "wandb":
        assert logged == {"train/rpn/loss": 0.5, "step": 1}
        assert images[1] == ({"validation/pictures/1": "picture", "step": 2},)
        assert ("define_metric", ("*",), {"step_metric": "step"}) in calls
    else:
        assert logged == {"train/rpn/loss": 0.5} and scalars[2] == {"step": 1}
        assert images[1:] == (({"validation/pictures/1": "picture"},), {"step": 2})
    assert end[0] == "finish"


def test_mlflow_gets_names_and_numbers_that_it_takes(tmp_path, package):
    functions = ("set_experiment", "start_run", "log_params", "log_metrics", "log_image", "end_run")
    calls = package("mlflow", functions)
    log(tmp_path, trackers.make("mlflow", "first", {"data.dir": "x" * 999}))
    assert [call[0] for call in calls] == list(functions)
    assert len(calls[2][1][0]["data.dir"]) == 500
    assert calls[3][1:] == (({"train/rpn/loss": 0.5},), {"step": 1})
    assert calls[4][1] == (PIXELS, "validation/pictures/1/step-00000002.png")
    assert trackers._plain("AP/caf\u00e9 (small)") == "AP/caf_ _small_"


def test_a_tracker_that_fails_is_left_out_and_said_once(tmp_path, capsys):
    class Failing(trackers.CsvTracker):
        def write_scalars(self, *_):
            raise ConnectionError("no route")

    good = trackers.CsvTracker(tmp_path / "good.csv")
    with RunLogger(tmp_path, trackers=[Failing(tmp_path / "bad.csv"), good]) as logger:
        for step in (1, 2):
            logger.write("train", step, {"total_loss": 1.0})
    assert len((tmp_path / "good.csv").read_text().splitlines()) == 3
    (line,) = capsys.readouterr().out.splitlines()
    assert line == "warning: Failing failed and gets no more values: ConnectionError: no route"


def test_a_package_that_is_missing_and_a_kind_that_there_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="the tracker mlflow needs its package: `pip install mlflow`"):
        trackers.make("mlflow", "first", {})
    with pytest.raises(ValueError, match="no tracker 'neptune', only mlflow, trackio and wandb"):
        trackers.make("neptune", "first", {})
