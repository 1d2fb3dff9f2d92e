"""Exported files against the Keras detector that they were made from."""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from export.export_files import FILES, skip_without

from frcnn.cli import evaluate, export, predict
from frcnn.cli.common import run
from frcnn.data.transforms import load
from frcnn.detector import Detector
from frcnn.errors import ConfigError, OutputError, WeightsError
from frcnn.export import check, exporter, metadata, onnx_weights
from frcnn.export.formats import FORMATS, files_of
from frcnn.models.faster_rcnn import FasterRCNN


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    """Return the detector's own file."""
    path = tmp_path_factory.mktemp("saved") / "detector.h5"
    detector.save(path)
    return path


@pytest.fixture(scope="module")
def exported(detector, photos, tmp_path_factory):
    """Return a function from a format to its report and its file, which tests may read."""

    @functools.cache
    def export_once(name):
        skip_without(name)
        return exporter.export(detector, name, tmp_path_factory.mktemp(name) / FILES[name], photos)

    return export_once


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_of_each_format_finds_the_same(exported, detector, photos, tmp_path, name):
    report, path = exported(name)
    assert not report.faults() and report.agreement.detections > 40
    assert "The file agrees." in path.with_name(f"{FILES[name]}.check.md").read_text()
    # The same interface, as from Keras, and images of another size than the file's.
    loaded = Detector.load(path)
    assert loaded.classes == detector.classes and loaded.config.data.short_side == 80
    found = loaded.predict([load(photos[0]), np.zeros((200, 100, 3), "uint8")], batch_size=2)
    assert found[0]["boxes"].shape[1] == 4 and found[0]["names"] and found[1]["boxes"].max() > 100
    with pytest.raises(WeightsError, match="cannot be saved"):
        loaded.save(tmp_path / "again.h5")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "saved_model"])
def test_an_open_input_serves_any_batch_and_size(detector, photos, tmp_path, name):
    skip_without(name)
    report, path = exporter.export(detector, name, tmp_path / FILES[name], photos, dynamic=True)
    assert not report.faults()
    images = [load(photo) for photo in photos]
    images += [image[:50] for image in images] + [image[:, :40] for image in images]
    loaded = Detector.load(path)
    for batch_size in (1, 4):
        agreement = check.compare(
            detector.predict(images, batch_size), loaded.predict(images, batch_size)
        )
        assert agreement.detections > 100 and agreement.strays <= 0.01 * agreement.detections


@pytest.mark.slow
def test_a_pyramid_of_open_size_finds_the_same(small_config, photos, tmp_path):
    skip_without("onnx")
    values = {
        "model.backbone": "mobilenet_v2_fpn",
        "model.weights": "none",
        "data.short_side": 96,  # one and a half cells of the coarsest level
        "data.long_side": 160,
        "data.classes": ("disc", "box", "star"),
        "anchors.sizes": (16.0, 32.0, 64.0, 96.0, 128.0),
        "anchors.size_per_level": True,
    }
    config = small_config.replace(values)
    detector = Detector(FasterRCNN.from_config(config), config, config.data.classes)
    report, _ = exporter.export(detector, "onnx", tmp_path / "d.onnx", photos, dynamic=True)
    assert report.agreement.images > len(photos) and report.agreement.detections > 100
    assert not report.faults()


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("name", ["onnx", "litert"])
def test_smaller_weights_make_a_smaller_file(exported, detector, photos, tmp_path, name, weights):
    skip_without(name)
    report, _ = exporter.export(detector, name, tmp_path / FILES[name], photos[:1], weights=weights)
    assert report.agreement.detections and not report.faults()
    share = {"float16": 0.7, "int8": 0.5}[weights]
    assert report.megabytes < share * exported(name)[0].megabytes


def test_quantized_weights_are_near_the_weights():
    array = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
    rounded, scales = onnx_weights.quantize(array, axis=1)
    assert scales.shape == (5,)
    assert np.abs(rounded * scales - array).max() <= 0.5 * scales.max() + 1e-6


def test_what_does_not_agree_is_renamed(saved, shapes_folder, tmp_path, monkeypatch, capsys):
    run_command = ["--format", "saved_model", "--images", str(shapes_folder / "JPEGImages")]
    monkeypatch.setattr(check, "MAX_BOX_ERROR", -1.0)
    out = tmp_path / "detector.saved_model"
    assert export.main([str(saved), *run_command, "--out", str(out), "--check-images", "1"]) == 3
    assert not out.exists() and out.with_name("detector.saved_model.disagrees").is_dir()
    assert "NOT ACCEPTED: " in capsys.readouterr().out


def test_the_command_and_what_takes_its_file(saved, tmp_path, photos, capsys):
    out = tmp_path / "detector.saved_model"
    assert export.main([str(saved), "--format", "saved_model", "--out", str(out)]) is None
    assert "AP on 4 images" in capsys.readouterr().out
    scores = tmp_path / "scores.json"
    assert evaluate.main([str(out), "--json", str(scores)]) is None
    assert json.loads(scores.read_text())["images"] == 4
    assert predict.main([str(out), photos[0], "--score", "0.9", "--out", str(tmp_path / "drawn")]) == 0


def test_a_threshold_below_that_of_the_file_is_refused(exported, photos):
    _, path = exported("saved_model")
    least = Detector.load(path).config.detection.score_threshold
    more = Detector.load(path, settings={"detection.score_threshold": least + 0.1}).predict(photos[0])
    assert all(found["scores"].min(initial=1.0) > least + 0.1 for found in more)
    with pytest.raises(ConfigError, match="below which it finds nothing") as raised:
        Detector.load(path, settings={"detection.score_threshold": least / 2})
    assert str(path) in str(raised.value)


def test_a_default_threshold_gives_way_to_that_of_the_file(exported, saved):
    _, path = exported("saved_model")
    least = Detector.load(path).config.detection.score_threshold
    for default, expected in ((least / 2, least), (0.9, 0.9)):
        found = Detector.load(path, default_score=default)
        assert found.config.detection.score_threshold == found.models.least_score == expected
    chosen = {"detection.score_threshold": least + 0.1}
    assert Detector.load(path, None, chosen, 0.9).models.least_score == least + 0.1
    assert Detector.load(saved, default_score=0.7).config.detection.score_threshold == 0.7


@pytest.mark.parametrize("name", ["onnx", "litert", "saved_model"])
def test_the_script_for_other_machines_finds_the_same(exported, photos, name):
    _, path = exported(name)
    script = Path(__file__).resolve().parents[2] / "scripts" / "exported" / f"run_{name}.py"
    forbidden = ["frcnn", "keras", "cv2"] + ["tensorflow"] * (name != "saved_model")
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({forbidden})); sys.argv = sys.argv[1:]"
    code += "; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(script), str(path), photos[0]]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    (found,) = Detector.load(path).predict(photos[0])
    # Pillow resizes a little differently from OpenCV.
    assert abs(len(lines) - len(found["scores"])) <= 0.2 * len(found["scores"])
    name, score, _ = lines[0].split(maxsplit=2)
    assert name in found["names"] and float(score) == pytest.approx(found["scores"][0], abs=0.02)


def test_a_signature_answers_what_tensorflow_serving_sends(exported):
    import tensorflow as tf

    _, path = exported("saved_model")
    image, size = np.zeros((80, 120, 3), int).tolist(), [80.0, 120.0]
    body = json.loads(json.dumps({"instances": [{"images": image, "image_sizes": size}]}))
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    kinds = signature.structured_input_signature[1]
    columns = {
        name: tf.constant([row[name] for row in body["instances"]], kind.dtype)
        for name, kind in kinds.items()
    }
    found = signature(**columns)
    assert set(found) == {"boxes", "scores", "labels", "num_detections"}
    assert found["num_detections"].numpy().tolist() == [int((found["scores"] > 0).numpy().sum())]


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("content", [b"", b"no such file at all", b"PK\3\4" + bytes(100)])
def test_a_foreign_file_is_one_line(tmp_path, capsys, name, content):
    skip_without(name)
    path = tmp_path / FILES[name]
    file = path
    if name == "saved_model":
        path.mkdir()
        file = path / "saved_model.pb"
    file.write_bytes(content)
    with pytest.raises(SystemExit) as status:
        run(lambda: predict.main([str(path), "photo.jpg", "--out", str(tmp_path / "drawn")]))
    assert status.value.code == 2
    error = capsys.readouterr().err.strip()
    assert str(path) in error and "\n" not in error


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_damaged_file_is_one_line(exported, tmp_path, name):
    _, whole = exported(name)
    path = tmp_path / FILES[name]
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, path)
    file = path / "saved_model.pb" if path.is_dir() else path
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=str(path)) as raised:
        Detector.load(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_flipped_bit_is_noticed(exported, tmp_path, name):
    _, whole = exported(name)
    path = tmp_path / FILES[name]
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, path)
    if name == "openvino":
        shutil.copy(whole.with_suffix(".bin"), path.with_suffix(".bin"))
    rng = np.random.default_rng(0)
    for file in files_of(path):
        content = file.read_bytes()
        for at in (*rng.integers(0, len(content), 5), len(content) // 2):
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(rng.integers(8))
            file.write_bytes(damaged)
            with pytest.raises(WeightsError, match=str(path)) as raised:
                Detector.load(path)
            assert "\n" not in str(raised.value)
        file.write_bytes(content)
    Detector.load(path)


def test_a_damaged_description_is_one_line():
    with pytest.raises(WeightsError, match="description in x.onnx is damaged"):
        metadata.from_text('{"classes": []}', "x.onnx")
    with pytest.raises(WeightsError, match="was not written by frcnn export"):
        metadata.from_text(None, "x.onnx")


@pytest.mark.parametrize(
    "name, out, options, message",
    [
        ("litert", "d.tflite", {"dynamic": True}, "has a fixed input, as LiteRT's .* --resize"),
        ("saved_model", "d", {"dynamic": True, "size": (64, 64)}, "give one of them"),
        ("saved_model", "d", {"weights": "int8"}, "float32 weights"),
        ("onnx", "d.tflite", {}, "ends in .onnx"),
    ],
)
def test_options_that_do_not_fit(tmp_path, monkeypatch, name, out, options, message):
    monkeypatch.setattr("frcnn.export.exporter.require", lambda *_: None)
    request = {"size": None, "dynamic": False, "weights": "float32", "overwrite": False} | options
    with pytest.raises(ConfigError, match=message):
        exporter.check_request(name, tmp_path / out, **request)


def test_places_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr("frcnn.export.exporter.require", lambda *_: None)
    request = {"size": None, "dynamic": False, "weights": "float32", "overwrite": True}
    with pytest.raises(OutputError, match="no folder"):
        exporter.check_request("onnx", tmp_path / "none" / "d.onnx", **request)
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        exporter.check_request("saved_model", tmp_path / "mine", **request)


def test_a_folder_that_tensorflow_cannot_write_to_is_one_line(detector, photos, tmp_path, monkeypatch):
    def save(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "no space left")

    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr("tensorflow.saved_model.save", save)
    with pytest.raises(OutputError, match="cannot write .*: no space left"):
        exporter.export(detector, "saved_model", tmp_path / "d", photos)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    request = {"size": None, "dynamic": False, "weights": "float32", "overwrite": False}
    with pytest.raises(ConfigError, match="pip install onnx tf2onnx onnxruntime"):
        exporter.check_request("onnx", tmp_path / "d.onnx", **request)


def test_a_size_that_the_network_does_not_take(detector, photos, tmp_path):
    with pytest.raises(ConfigError, match="multiples of 8"):
        exporter.export(detector, "saved_model", tmp_path / "d", photos, size=(60, 64))


def test_a_check_that_compares_nothing_is_no_pass(exported):
    report, _ = exported("saved_model")
    nothing = dataclasses.replace(report, agreement=check.compare([], []))
    assert "nothing was compared" in nothing.faults()[0]


def test_lost_ap_is_a_fault(exported):
    report, _ = exported("saved_model")
    assert dataclasses.replace(report, ap=(0.4995, 0.5, 0.5)).faults() == []
    assert "AP is 49.80" in dataclasses.replace(report, ap=(0.498, 0.5, 0.5)).faults()[0]
    # More AP than Keras shows another arithmetic as well.
    assert "AP is 50.20" in dataclasses.replace(report, ap=(0.502, 0.5, 0.5)).faults()[0]
    stored = report.description.model_copy(update={"weights": "int8"})
    assert dataclasses.replace(report, ap=(0.49, 0.5, 0.5), description=stored).faults() == []


def test_compare_counts_what_has_no_partner():
    one = {
        "boxes": np.array([[0, 0, 10, 10], [5, 5, 9, 9]], "float32"),
        "scores": np.array([0.9, 0.5]),
        "labels": np.array([0, 1]),
    }
    moved = one | {"boxes": one["boxes"] + np.array([[0.25], [3.0]], "float32")}
    agreement = check.compare([one], [moved])
    assert (agreement.images, agreement.detections, agreement.strays) == (1, 4, 2)
    assert agreement.box_error == 0.25 and agreement.score_error == 0.0
    other = one | {"labels": np.array([0, 0])}
    assert check.compare([one], [other]).strays == 2
