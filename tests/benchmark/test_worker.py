"""Our side of a comparison does what its spec says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark import worker
from benchmark.protocol import serve

SPEC = {
    "what": "step",
    "backbone": "tiny",
    "schedule": "joint",
    "precision": "float32",
    "height": 64,
    "width": 96,
    "batch": 2,
    "boxes": 3,
    "classes": 4,
    "rois": 16,
    "settings": {
        "model.weights": "none",
        "model.rpn_channels": 8,
        "model.head_width": 8,
        "rpn.pre_nms_train": 50,
        "rpn.post_nms_train": 20,
    },
}


@pytest.mark.parametrize("what", ["step", "inference"])
@pytest.mark.parametrize("schedule", ["alternating", "joint"])
def test_what_is_measured_runs(what, schedule):
    answers = []
    spec = SPEC | {"what": what, "schedule": schedule}
    serve(worker.prepare(spec), ["2\n", "1\n"], answers.append)
    assert answers[0] == "ready"
    first, second = (json.loads(answer) for answer in answers[1:])
    assert len(first["seconds"]) == 2 and len(second["seconds"]) == 1
    assert min(first["seconds"]) > 0 and first["peak_mb"] > 50


@pytest.mark.slow
def test_the_script_measures_ours_and_writes_json(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    options = "inference --backbone tiny --size 48x64 --rounds 1 --times 2".split()
    settings = [f"--set={key}={value}" for key, value in SPEC["settings"].items()]
    out = tmp_path / "figures.json"
    subprocess.run([sys.executable, script, *options, *settings, "--json", out], check=True)
    figures = json.loads(out.read_text())
    assert set(figures) == {"spec", "ours"} and figures["ours"]["median_s"] > 0
    assert 0 < figures["ours"]["device_s"] and 0 <= figures["ours"]["idle_share"] < 1


@pytest.mark.slow
def test_the_script_measures_an_exported_file_beside_keras(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "benchmark.py"
    options = "export --backbone tiny --size 48x64 --formats saved_model --rounds 1 --times 2".split()
    out = tmp_path / "figures.json"
    subprocess.run([sys.executable, script, *options, "--json", out], check=True)
    sides = json.loads(out.read_text())["sides"]
    assert set(sides) == {"Keras", "saved_model"} and min(s["median_s"] for s in sides.values()) > 0
