"""Planted label faults: what is changed in the copy, and how many a list of label errors names."""

import importlib.util
import json
from pathlib import Path

import pytest

from frcnn import api
from frcnn.cli import evaluate
from frcnn.config.presets import PRESETS
from frcnn.data import shapes

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "plant_label_faults.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("plant_label_faults", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def planted(script, tmp_path):
    """Return the folder, its spoilt copy, and the list of faults."""
    folder, copy = tmp_path / "shapes", tmp_path / "copy"
    shapes.make(folder, {"val": 8}, seed=1)
    return folder, copy, script.copy_with_faults(folder, copy, ("circle", "square"), 0.3, 0)


def test_the_faults_are_in_the_copy_alone(script, planted):
    folder, copy, faults = planted
    kinds = [one["kind"] for ones in faults.values() for one in ones]
    assert set(kinds) == set(script.KINDS)
    for name, ones in faults.items():
        before, after = (
            root.joinpath("Annotations", f"{name}.xml").read_text() for root in (folder, copy)
        )
        removed = sum(one["kind"] == "unlabelled" for one in ones)
        assert after.count("<object>") == before.count("<object>") - removed
    for one in (one for ones in faults.values() for one in ones if one["kind"] == "swapped class"):
        assert {one["class"], one["was"]} == {"circle", "square"}


def test_one_kind_alone(script, tmp_path):
    shapes.make(tmp_path / "shapes", {"val": 8}, seed=1)
    folders = (tmp_path / "shapes", tmp_path / "copy", ("circle", "square"), 0.3, 0)
    faults = script.copy_with_faults(*folders, ["shifted box"])
    assert {one["kind"] for ones in faults.values() for one in ones} == {"shifted box"}


def test_what_is_named_is_counted(script, planted, tmp_path):
    _, copy, faults = planted
    rows = [
        {"image": image, "kind": one["kind"], "label": None, "detection": {"box": one["box"]}}
        for image, ones in faults.items()
        for one in ones
        if one["kind"] == "unlabelled"
    ]
    doubts = {"unlabelled": {"doubt": 4.0}, "swapped class": {"doubt": 1.0}}
    analysis = {"errors": {"missed": {"gain": 0.1}}, "label_errors": doubts}
    values = {"split": "val", "label_errors": rows, "analysis": analysis}
    (tmp_path / "scores.json").write_text(json.dumps(values))
    doubts["unlabelled"] = {"doubt": 3.5}
    (tmp_path / "before.json").write_text(json.dumps(values))
    lines = script.check(tmp_path / "scores.json", copy, tmp_path / "before.json")
    swapped, shifted, unlabelled, costliest, said, risen = lines
    assert said == "doubts: unlabelled 4.0, swapped class 1.0"
    assert risen == "risen by: unlabelled +0.5, swapped class +0.0"
    assert (
        unlabelled
        == f"unlabelled: {len(rows)} of {len(rows)} planted faults named, {len(rows)} named in all"
    )
    assert swapped.startswith("swapped class: 0 of ") and costliest == "costliest kinds: missed"


@pytest.mark.slow  # trains for minutes
def test_the_report_names_each_kind_of_fault(script, tmp_path):
    base, spoilt, run = tmp_path / "base", tmp_path / "spoilt", tmp_path / "run"
    shapes.make(base, {"train": 400, "val": 60}, seed=3)
    swap = ("circle", "square")
    script.copy_with_faults(base, spoilt, swap, 0.1, 1)
    settings = PRESETS["shapes"] | {"data.dataset": "voc", "train.schedule": "joint", "train.epochs": 10}
    api.train(spoilt, settings=settings, out=run)
    for kind in script.KINDS:
        copy, scores, page = (tmp_path / f"{kind}{suffix}" for suffix in ("", ".json", ".html"))
        script.copy_with_faults(base, copy, swap, 0.1, 1, [kind])
        options = [
            "--data-dir",
            str(copy),
            "--split",
            "val",
            "--report",
            str(page),
            "--json",
            str(scores),
        ]
        evaluate.main([str(run), *options])
        values = json.loads(scores.read_text())
        doubts = {name: row["doubt"] for name, row in values["analysis"]["label_errors"].items()}
        assert max(doubts, key=doubts.get) == kind, doubts
        found, number = script.count_named(kind, copy, values)
        assert found >= 0.8 * number > 8, (kind, found, number)
