"""A run's own mAP, once more: from the weights it wrote, by ``scripts/evaluate.py``."""

import contextlib
import csv
import io
import json
import math
import re
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from interrupted_runs import events
from PIL import Image
from support import coco_eval, load_script

from frcnn.cli import common
from frcnn.config import presets
from frcnn.config.schema import Config, DetectionConfig
from frcnn.config.text_format import shown
from frcnn.data import build
from frcnn.data.loader import DataLoader
from frcnn.data.sample import Dataset
from frcnn.detector import Detector
from frcnn.errors import ConfigError, DataError
from frcnn.evaluation import evaluator
from frcnn.export.runner import FileModels
from frcnn.training import train


@pytest.fixture(scope="module")
def script():
    return load_script("evaluate")


@pytest.fixture(scope="module")
def run(small_config, tmp_path_factory):
    """Return the folder of a run that has learnt a little."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    values = {
        "data.batch_size": 3,  # of 4 images: a smaller batch comes last
        "data.val_split": "val",
        "optimizer.warmup_steps": 5,
        "detection.score_threshold": 0.0,  # so little training finds nothing it is sure of
        "train.epochs": 2,
        "train.steps_per_epoch": 15,
    }
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train.train(small_config.replace(values), folder)
    return folder


@pytest.fixture(scope="module")
def best(run):
    """Return the row of ``metrics.csv`` that ``best.weights.h5`` is of."""
    with open(run / "metrics.csv", newline="") as file:
        # The later of equals was written last.
        return max(reversed(list(csv.DictReader(file))), key=lambda row: float(row["mAP"]))


def test_the_same_map_as_the_validation_in_the_run(script, run, best, tmp_path, capsys):
    script.main([str(run), "--json", str(tmp_path / "a.json")])
    values = json.loads((tmp_path / "a.json").read_text())
    assert float(best["mAP"]) > 0
    assert values["summary"]["mAP"] == pytest.approx(float(best["mAP"]), abs=1e-6)
    for name in ("circle", "square", "triangle"):
        assert values["classes"][name]["AP"] == pytest.approx(float(best[f"AP/{name}"]), abs=1e-6)
    assert (values["metric"], values["images"]) == ("voc12", 4)
    assert f"{values['summary']['mAP']:.4f}" in capsys.readouterr().out


def test_every_number_of_a_run_agrees(script, run, best, tmp_path):
    """In ``metrics.csv``, TensorBoard, ``--json`` and the page of ``--report``."""
    page, out = tmp_path / "report.html", tmp_path / "a.json"
    script.main([str(run), "--json", str(out), "--report", str(page)])
    values = json.loads(out.read_text())
    text = page.read_text()
    (numbers,) = re.findall(r'<script type="application/json" id="numbers">(.*?)</script>', text)
    assert json.loads(numbers) == values
    board = events(run / "validation")
    step = int(best["step"])
    tags = {"mAP": values["summary"]["mAP"]}
    tags |= {f"AP/{name}": row["AP"] for name, row in values["classes"].items()}
    for tag, value in tags.items():
        assert float(best[tag]) == pytest.approx(value, abs=1e-6)
        assert dict(board[tag])[step] == pytest.approx(value, abs=1e-6)
        assert f"{value:.4f}" in text  # as people read it
    with open(run / "metrics.csv", newline="") as file:
        written = [{key: float(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
    assert values["history"] == written and "validation/total_loss" in written[0]
    analysed = values["analysis"]
    assert analysed["mAP"] == analysed["mAP_by_iou"]["0.50"] == values["summary"]["mAP"]


def test_coco_s_numbers_of_a_run_are_those_of_pycocotools(script, run, tmp_path):
    """In TensorBoard, ``--json`` and the page, of the last weights, which the last validation had."""
    page, out = tmp_path / "report.html", tmp_path / "a.json"
    files = ["--json", str(out), "--report", str(page)]
    script.main([str(run), "--weights", "last.weights.h5", "--metric", "coco", *files])
    values, text, board = json.loads(out.read_text()), page.read_text(), events(run / "validation")
    detector = Detector.load(run, "last.weights.h5")
    dataset = build.load_split(detector.config.data, "val", detector.classes)
    detections, truths = evaluator.detect(detector, dataset)
    theirs = coco_eval(tmp_path, detections, truths, detector.classes)
    assert len(theirs.stats) == len(values["summary"]) == 12 and theirs.stats[1] > 0
    for number, (name, value) in zip(theirs.stats, values["summary"].items(), strict=True):
        assert (-1 if value is None else value) == pytest.approx(number, abs=1e-6)
        logged = board[f"COCO/{name}"][-1][1]
        assert (-1 if math.isnan(logged) else logged) == pytest.approx(number, abs=1e-6)
    for value in [*values["summary"].values()][:6]:
        assert (f"{value:.4f}" if value is not None else "-") in text
    assert values["analysis"]["mAP"] == pytest.approx(board["mAP"][-1][1], abs=1e-6)


def test_a_file_scores_as_the_run_it_was_saved_from(script, run, best, tmp_path):
    Detector.load(run).save(tmp_path / "detector.h5")
    line = f"{tmp_path / 'detector.h5'} --split val --metric voc12 --json {tmp_path / 'a.json'}"
    script.main(line.split())
    values = json.loads((tmp_path / "a.json").read_text())
    assert values["summary"]["mAP"] == pytest.approx(float(best["mAP"]), abs=1e-6)


def test_other_metrics(script, run, tmp_path, capsys):
    pytest.importorskip("pycocotools")
    values = {}
    for metric in evaluator.METRICS:
        script.main(f"{run} --metric {metric} --overwrite --json {tmp_path / 'a.json'}".split())
        values[metric] = json.loads((tmp_path / "a.json").read_text())
        assert values[metric]["metric"] == metric
    assert "11-point" in capsys.readouterr().out
    assert list(values["coco"]["summary"])[:3] == ["AP", "AP50", "AP75"]
    assert list(values["coco"]["classes"]) == ["circle", "square", "triangle"]
    for part in (values["coco"]["summary"], *values["coco"]["classes"].values()):
        assert all(v is None or math.isfinite(v) for v in part.values())


@pytest.mark.parametrize(
    "name, expected",
    [
        ("voc2007 test", "11-point"),
        ("voc07+12 trainval", "11-point"),
        ("VOC2007 test", "11-point"),  # the devkit's folder of that year, given as a folder of its own
        ("voc2012 val", "all-point"),
        ("my_images val", "all-point"),
    ],
)
def test_ap_is_interpolated_as_the_data_set_s_own_rules_say(name, expected):
    dataset = Dataset(name, ("thing",), ())
    assert evaluator.ap_interpolation(DetectionConfig(), dataset) == expected
    for said in ("11-point", "all-point"):
        config = DetectionConfig(ap_interpolation=said)
        assert evaluator.ap_interpolation(config, dataset) == said


def test_options_go_before_the_run_s_settings(script):
    config = Config().replace({"data.year": "07+12", "data.val_split": "test", "data.classes": "a,b"})

    def made(line):
        return script.make_config(config, script.parse(line.split()))[0]

    assert made("run") == config
    assert made("run --data-dir data").data.year == "07+12"  # where it was
    other = made("run --data-dir d --split mine --batch-size 3 --on-bad-data skip").data
    assert (other.dir, other.year, other.val_split) == ("d", "", "mine")
    assert (other.batch_size, other.on_bad_data, other.classes) == (3, "skip", ("a", "b"))
    assert made("run --year 2012").data.year == "2012"


def test_a_detector_of_shapes_is_scored_on_the_folder_that_is_named(script):
    """And not on shapes that are drawn into it."""
    config = presets.preset("shapes").replace({"data.classes": "a,b"})
    scored, notes = script.make_config(config, script.parse(["run", "--data-dir", "d"]))
    assert scored == config.replace({"data.dataset": "voc", "data.dir": "d"})
    assert "data.dataset=shapes" in notes[0]
    scored, _ = script.make_config(config, script.parse("run --dataset voc --data-dir d".split()))
    assert (scored.data.val_split, scored.data.classes) == ("test", ("a", "b"))


@pytest.mark.parametrize(
    "line, says",
    [
        ("nothing", "nothing is not a training run or a saved detector"),
        ("RUN --weights other.h5", "other.h5"),
        (
            "RUN/last.weights.h5 --weights other.h5",
            "is a file, so no weights can be chosen in it: leave out other.h5",
        ),
        ("RUN --split other", "the splits there are: train, val"),
        ("RUN --data-dir nowhere", "no VOC2007 in nowhere"),
        ("RUN --set data.flip=0", "data.flip is fixed by the weights; only detection.* can be changed"),
        ("RUN --set detection.sigma=1", "there is no setting 'detection.sigma'"),
        ("RUN --batch-size 0", "data.batch_size must be a whole number from 1"),
        ("RUN --json no/folder/a.json", "there is no folder no/folder"),
        ("RUN --json .", "it is a folder; give the name of a file"),
        ("RUN --json there.json", "there.json exists already"),
        ("RUN --report there.json", "there.json exists already"),
        ("RUN --metric coco --split other", "COCO AP needs pycocotools"),  # before data is looked for
    ],
)
def test_what_is_wrong_is_one_line(script, run, line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)  # as if it were not installed
    (tmp_path / "there.json").touch()
    with pytest.raises(SystemExit) as caught:
        common.run(lambda: script.main(line.replace("RUN", str(run)).split()))
    assert caught.value.code == 2
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: ") and says in error


def test_labels_are_classified_in_their_own_boxes(run):
    detector = Detector.load(run)
    config = detector.config
    dataset = build.load_split(config.data, config.data.val_split, detector.classes)
    loader = DataLoader(dataset, config.data, detector.models.size_multiple, training=False)
    batch = next(iter(loader.epoch()))
    expected, _ = detector.models.classifier.predict_on_batch([batch.images, batch.gt_boxes])
    scores = evaluator.classify_labels(detector, batch)
    assert [len(one) for one in scores] == [len(sample.boxes) for sample in batch.samples]
    for row, one in enumerate(scores):
        np.testing.assert_allclose(one, expected[row, : len(one)], atol=1e-5)
    exported = SimpleNamespace(
        models=FileModels(SimpleNamespace(size_multiple=1, score_threshold=0, resizes=False), None)
    )
    assert evaluator.classify_labels(exported, batch) is None


def test_views_are_merged_as_in_prediction(script, run, tmp_path):
    """Images of each size are made from the files, not from resized images."""
    settings = {"detection.flip": True, "detection.short_sides": [96, 160]}
    detector = Detector.load(run, settings=settings)
    config = detector.config
    dataset = build.load_split(config.data, config.data.val_split, detector.classes)
    seen = []
    data = config.data.replace(batch_size=1)  # a batch pads its images to the largest
    found, _ = evaluator.detect(
        detector, dataset, data, on_batch=lambda batch, _: seen.extend(batch.samples)
    )
    assert [sample.name for sample in seen] == [sample.name for sample in dataset.samples]
    expected = detector.predict([sample.path for sample in dataset.samples])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-4)
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={shown(value)}")]
    script.main([str(run), "--batch-size", "1", "--json", str(tmp_path / "a.json"), *sets])
    values = json.loads((tmp_path / "a.json").read_text())
    of_views = evaluator.score(found, [s.truth() for s in seen], detector.classes, values["metric"])
    assert values["summary"]["mAP"] == pytest.approx(of_views.mean_ap, abs=1e-6)


def test_other_classes_and_metrics_are_refused(run):
    detector = Detector.load(run)
    with pytest.raises(DataError, match="has the classes cat, but the detector has circle, square"):
        evaluator.detect(detector, Dataset("pets", ("cat",), ()))
    with pytest.raises(DataError, match="pets has no image"):
        evaluator.detect(detector, Dataset("pets", detector.classes, ()))
    with pytest.raises(ConfigError, match="no metric 'voc', only voc07, voc12, coco"):
        evaluator.score([], [], ("cat",), "voc")


def test_what_has_no_object_is_null_in_json():
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    scores = evaluator.score(
        [nothing | {"scores": np.zeros(0)}],
        [nothing | {"difficult": np.zeros(0, bool)}],
        ("a",),
        "voc07",
    )
    assert scores.values["summary"]["mAP"] is None and scores.values["classes"]["a"]["AP"] is None


def test_images_left_out_are_printed_and_kept_in_the_json(script, run, shapes_folder, tmp_path, capsys):
    folder = shutil.copytree(shapes_folder, tmp_path / "spoilt")
    first, second = (folder / "JPEGImages" / f"val_00000{k}.jpg" for k in (1, 2))
    first.write_bytes(first.read_bytes()[:-50])
    with Image.open(second) as image:
        image.load()
    image.save(second, "PNG")
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 0xFF  # which only decoding tells
    second.write_bytes(content)
    line = f"{run} --data-dir {folder} --json {tmp_path / 'a.json'}"
    with pytest.raises(DataError, match="val_000001.jpg: is cut off"):
        script.main(line.split())
    script.main(f"{line} --on-bad-data skip".split())
    values = json.loads((tmp_path / "a.json").read_text())
    assert values["images"] == 2
    assert [row["image"] for row in values["skipped"]] == ["val_000001", "val_000002"]
    out = capsys.readouterr().out
    assert "skipped: val_000001" in out and "skipped: val_000002" in out
