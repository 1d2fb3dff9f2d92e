"""Results in each format, read back by those who use it; nothing is written over."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from prediction.fakes import BOX, Finds, write_video
from pycocotools.coco import COCO

from frcnn.data import formats, oriented
from frcnn.errors import ConfigError, DataError, OutputError
from frcnn.prediction import make_sinks, run, sinks, sources, video

ALL = ("drawn", "jsonl", "csv", "coco", "voc", "yolo")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the current folder, with two images of one name, another one and a video."""
    monkeypatch.chdir(tmp_path)
    for name in ("x/p.jpg", "y/p.jpg", "x/q.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / name)
    write_video(tmp_path / "clip.mp4", 3)
    return tmp_path


def predict(place, arguments, names=ALL, ids=None, overwrite=False, **options):
    """Predict with a detector that finds one box; return the summary and the lines."""
    out, lines = place / "out", []
    sinks.check(out, names, overwrite)
    out.mkdir(exist_ok=True)
    found = sources.find(arguments)
    made = make_sinks.make(names, out, Finds.classes, found, ids, overwrite)
    return run.predict(Finds(), found, made, report=lines.append, **options), lines


def test_every_format_at_once(place):
    summary, lines = predict(place, ["x/p.jpg", "y/p.jpg", "x/q.png", "clip.mp4"])
    assert (summary.pictures, summary.detections, summary.faults) == (6, 6, [])
    assert lines[0] == f"x/p.jpg -> {place}/out/p.png: 1 \u732b"
    assert lines[3] == f"clip.mp4 -> {place}/out/clip.mp4: 3 \u732b"
    files = {str(path.relative_to(place / "out")) for path in (place / "out").rglob("*.*")}
    frames = [f"clip-{number:06d}" for number in range(3)]
    stems = ["p", "p-2", "q", *frames]
    assert files == {
        *("p.png", "p-2.png", "q.png", "clip.mp4", "detections.jsonl", "detections.csv"),
        *("coco_results.json", "coco_images.json", "yolo/classes.txt"),
        *(f"voc/{stem}.xml" for stem in stems),
        *(f"yolo/{stem}.txt" for stem in stems),
    }
    rows = [json.loads(line) for line in (place / "out/detections.jsonl").read_text().splitlines()]
    assert rows[1] == {
        **{"image": "y/p.jpg", "width": 40, "height": 30, "boxes": [BOX]},
        **{"scores": [0.9], "labels": [1], "names": ["\u732b"]},
    }
    assert [row.get("frame") for row in rows] == [None, None, None, 0, 1, 2]
    with (place / "out/detections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[5]["image"] == "clip.mp4" and rows[5]["frame"] == "2" and rows[5]["score"] == "0.900000"
    assert [float(rows[0][key]) for key in ("x1", "y1", "x2", "y2")] == BOX
    capture = video.Capture("out/clip.mp4")
    assert capture.fps == 20.0 and len(list(capture.frames())) == 3


@pytest.mark.parametrize("name", ["voc", "yolo", "csv"])
def test_what_is_pre_labelled_is_read_as_labels(place, name):
    predict(place, ["x/p.jpg", "x/q.png"], [name])
    for result in [*(place / "out").rglob("*.*")]:
        result.rename(place / "x" / result.name)
    dataset, faults = formats.collect(place / "x", "all")
    assert not faults and len(dataset) == 2
    for sample in dataset.samples:
        np.testing.assert_allclose(sample.boxes, [BOX], atol=1e-3)
        assert [dataset.classes[label] for label in sample.labels] == ["\u732b"]


def test_coco_results_are_loaded_beside_their_images(place):
    predict(place, ["x/p.jpg", "clip.mp4"], ["coco"])
    truth = COCO("out/coco_images.json")
    found = truth.loadRes("out/coco_results.json")
    assert [truth.imgs[number]["file_name"] for number in (1, 4)] == ["x/p.jpg", "clip.mp4#2"]
    assert found.anns[1]["bbox"] == [1.0, 2.0, 8.5, 6.0] and found.anns[1]["category_id"] == 2
    assert truth.cats[2]["name"] == "\u732b"


TURNED = np.array([[20, 15, 16, 6, 0.5], [30, 10, 8, 8, -1.0]], "float32")


class FindsTurned(Finds):
    """Finds two oriented boxes in every image."""

    def stream(self, images, batch_size=1, tile=None, overlap=0.2):
        for found in super().stream(images):
            many = {name: np.repeat(found[name], 2, axis=0) for name in ("scores", "labels", "names")}
            yield many | {"oriented": TURNED, "boxes": oriented.outer(TURNED)}


def test_oriented_boxes_keep_their_angles(place, monkeypatch):
    monkeypatch.setattr("test_sinks.Finds", FindsTurned)
    predict(place, ["x/q.png"], ["coco", "voc", "yolo", "jsonl", "csv", "drawn"])
    results = COCO("out/coco_images.json").loadRes("out/coco_results.json").anns
    rings = [np.reshape(results[number]["segmentation"][0], (4, 2)) for number in (1, 2)]
    np.testing.assert_allclose(rings, oriented.corners(TURNED), atol=1e-3)
    for name in ("voc", "yolo"):
        folder = place / "out" / name
        Image.new("RGB", (40, 30)).save(folder / "q.png")
        dataset, faults = formats.collect(folder, "all")
        assert not faults
        (sample,) = dataset.samples
        np.testing.assert_allclose(oriented.corners(sample.oriented[0]), rings[0], atol=2e-3)
        np.testing.assert_allclose(sample.boxes, np.clip(oriented.outer(TURNED), 0, 40), atol=2e-3)


def coco_file(place, images, names=("\u732b", "dog", "cow")):
    content = {
        "images": [{"id": number, "file_name": name} for number, name in images],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 30, "bbox": [0, 0, 5, 5], "area": 25}],
        "categories": [{"id": 30 + number, "name": name} for number, name in enumerate(names)],
    }
    (place / "truth.json").write_text(json.dumps(content))
    return str(place / "truth.json")


def test_coco_ids_come_from_a_file(place):
    ids = coco_file(place, [(7, "p.jpg"), (8, "x/q.png")])
    predict(place, ["x/q.png", "y/p.jpg"], ["coco"], ids)
    found = COCO(ids).loadRes("out/coco_results.json")
    rows = [(row["image_id"], row["category_id"]) for row in found.anns.values()]
    assert rows == [(8, 30), (7, 30)]
    assert not (place / "out/coco_images.json").exists()


def test_an_image_or_class_without_an_id_is_an_error_before_any_work(place):
    with pytest.raises(DataError, match="x/q.png is not among the images in .*truth.json"):
        predict(place, ["x/q.png"], ["coco"], coco_file(place, [(7, "p.jpg")]))
    with pytest.raises(DataError, match="truth.json has no category for the detector's classes dog"):
        predict(place, ["x/p.jpg"], ["coco"], coco_file(place, [(7, "p.jpg")], ["\u732b"]))
    with pytest.raises(DataError, match="clip.mp4 is no image"):
        predict(place, ["clip.mp4"], ["coco"], coco_file(place, [(7, "p.jpg")]))
    (place / "truth.json").write_text("[1, 2]")
    with pytest.raises(DataError, match="truth.json is not a COCO data set"):
        predict(place, ["x/p.jpg"], ["coco"], str(place / "truth.json"))


def test_earlier_results_stay_unless_they_are_to_be_replaced(place):
    predict(place, ["x/p.jpg"], ["jsonl", "voc", "yolo"])
    before = {path: path.read_bytes() for path in (place / "out").rglob("*.*")}
    for name in ("jsonl", "voc", "yolo"):
        with pytest.raises(OutputError, match="exists already: give another --out, or --overwrite"):
            predict(place, ["x/q.png"], [name])
    assert before == {path: path.read_bytes() for path in (place / "out").rglob("*.*")}
    predict(place, ["x/q.png"], ["jsonl"], overwrite=True)
    assert "q.png" in (place / "out/detections.jsonl").read_text()


def test_a_drawn_video_replaces_neither_its_source_nor_another(place):
    (place / "out").mkdir()
    source = write_video(place / "out" / "clip.mp4", 2)
    before = source.read_bytes()
    for name in ("clip-2.mp4", "clip-3.mp4"):
        _, lines = predict(place, ["out/clip.mp4"], ["drawn"])
        assert lines == [f"out/clip.mp4 -> {place}/out/{name}: 2 \u732b"]
    assert source.read_bytes() == before
    _, lines = predict(place, ["out/clip.mp4"], ["drawn"], overwrite=True)
    assert "clip-2.mp4" in lines[0] and source.read_bytes() == before


def test_a_video_that_is_damaged_is_reported_and_what_it_has_is_kept(place):
    path = write_video(place / "a.avi", 40, code="MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    summary, lines = predict(place, ["a.avi", "x/p.jpg"], ["drawn", "csv"])
    assert len(summary.faults) == 1 and "a.avi is damaged" in str(summary.faults[0])
    assert (place / "out/a.mp4").exists() and (place / "out/p.png").exists()
    assert 5 < summary.pictures < 40


def test_an_interrupt_completes_the_files(place):
    class Interrupted(Finds):
        def stream(self, images, *options):
            for number, found in enumerate(super().stream(images, *options)):
                if number == 2:
                    raise KeyboardInterrupt
                yield found

    found, out = sources.find(["clip.mp4"]), place / "out"
    out.mkdir()
    made = make_sinks.make(["drawn", "jsonl", "coco"], out, Finds.classes, found)
    with pytest.raises(KeyboardInterrupt):
        run.predict(Interrupted(), found, made)
    assert len((out / "detections.jsonl").read_text().splitlines()) == 2
    assert len(json.loads((out / "coco_results.json").read_text())) == 2
    assert len(list(video.Capture("out/clip.mp4").frames())) == 2
    assert not list(out.glob("part-*"))


def test_formats_are_checked():
    assert sinks.formats_of("csv, coco,csv") == ("csv", "coco")
    with pytest.raises(ConfigError, match="there is no result format 'jsnl', did you mean 'jsonl'"):
        sinks.formats_of("jsnl")
    with pytest.raises(ConfigError, match="there is no result format ''; expected some of drawn, jsonl"):
        sinks.formats_of(",")


def test_csv_rows_of_oriented_boxes_have_their_corners(place):
    (place / "out").mkdir()
    (row,) = make_sinks.make(["csv"], place / "out", ("car",), [], is_oriented=True)
    source = sources.find(["x/p.jpg"])[0]
    found = {"scores": [0.5], "names": ["car"], "labels": [0]}
    found |= {"boxes": np.zeros((1, 4)), "oriented": np.array([[10.0, 8.0, 6.0, 4.0, np.pi / 2]])}
    row.add(sources.Picture(source, np.zeros((30, 40, 3), "uint8")), found)
    row.close()
    (place / "out/detections.csv").rename(place / "x/detections.csv")
    dataset, faults = formats.collect(place / "x", "all")
    assert not faults
    np.testing.assert_allclose(dataset.samples[0].boxes, [[8.0, 5.0, 12.0, 11.0]], atol=1e-3)
    np.testing.assert_allclose(np.sort(dataset.samples[0].oriented[0, 2:4]), [4.0, 6.0], atol=1e-3)
