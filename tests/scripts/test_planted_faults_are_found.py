"""On labels with planted faults of one kind, the report of a real detector names that kind first."""

import contextlib
import importlib.util
import io
import json
from pathlib import Path

import pytest

from frcnn.cli import evaluate
from frcnn.config.presets import preset
from frcnn.data import shapes
from frcnn.training import train

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plant_label_faults.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("plant_label_faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Return a folder of drawn shapes, and the run of a detector that was trained on right labels."""
    root = tmp_path_factory.mktemp("planted")
    shapes.make(root / "shapes", {"train": 300, "val": 60}, seed=5)
    values = {"data.dataset": "voc", "data.dir": str(root / "shapes"), "train.schedule": "joint"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train.train(preset("shapes").replace(values | {"train.validate_every": 8}), root / "run")
    return root / "shapes", root / "run"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["swapped class", "shifted box", "unlabelled"])
def test_the_report_names_the_planted_kind_first(script, detector, tmp_path, kind, seed):
    folder, run = detector
    script.copy_with_faults(folder, tmp_path / "copy", ("circle", "square"), 0.1, seed, [kind])
    out, page = tmp_path / "scores.json", tmp_path / "report.html"
    given = ["--data-dir", str(tmp_path / "copy"), "--split", "val"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        evaluate.main([str(run), *given, "--json", str(out), "--report", str(page)])
    values = json.loads(out.read_text())
    assert next(iter(values["analysis"]["label_errors"])) == kind
    assert values["label_errors"][0]["kind"] == kind  # the first card of the page
    found, total = script.count_named(kind, tmp_path / "copy", values)
    assert found >= 0.8 * total > 4
