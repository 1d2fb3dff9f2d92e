"""The report on a data set: numbers worked by hand, and the same faults as training's."""

import csv
import dataclasses
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from support import damage, load_script

from frcnn.cli import common
from frcnn.config.schema import AnchorConfig
from frcnn.data import build
from frcnn.data.loader import DataLoader
from frcnn.errors import DataError, OutputError
from frcnn.inspection import anchor_fit, box_statistics, draw, inspector
from frcnn.ops.anchors import AnchorGenerator
from frcnn.ops.boxes import iou

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def script():
    return load_script("inspect_data")


@pytest.fixture
def folder(shapes_folder, tmp_path):
    """Return a copy of the data set to spoil."""
    return shutil.copytree(shapes_folder, tmp_path / "spoilt")


# Anchors that fit.


def boxes_of(*boxes, size=(96, 128)):
    boxes = np.array(boxes, "float32").reshape(-1, 4)
    return boxes, np.zeros(len(boxes), int), size


def test_the_best_overlap_of_boxes_that_are_anchors_is_one(small_config):
    """``tiny`` has a cell every 8 pixels: its third is centred on 20."""
    anchors = AnchorConfig(sizes=(16.0,), ratios=(1.0,))
    images = [
        boxes_of((12, 12, 28, 28), (12, 12, 28, 20), (14, 12, 30, 28)),
        boxes_of(),
        boxes_of((4, 4, 20, 20)),
    ]
    found = anchor_fit.best_overlaps(images, small_config, anchors)
    np.testing.assert_allclose(found, [1.0, 0.5, 14 / 18, 1.0], rtol=1e-6)


def test_anchors_in_the_padding_do_not_count(small_config):
    """An image 20 high is padded to 24; the last row of cells is centred on 20, past its end."""
    anchors = AnchorConfig(sizes=(8.0,), ratios=(1.0,))
    inside = anchor_fit.best_overlaps([boxes_of((0, 16, 8, 20), size=(20, 24))], small_config, anchors)
    np.testing.assert_allclose(inside, [0.0])
    counted = anchor_fit.best_overlaps([boxes_of((0, 16, 8, 24), size=(24, 24))], small_config, anchors)
    np.testing.assert_allclose(counted, [1.0])


def test_overlaps_are_those_of_the_training_s_anchors(small_config):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (21, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 40, (21, 2))], 1).astype("float32")
    found = anchor_fit.best_overlaps([boxes_of(*boxes)], small_config, small_config.anchors)
    anchors, _ = AnchorGenerator(strides=(8,), **vars(small_config.anchors))(96, 128)
    expected = keras.ops.convert_to_numpy(iou(boxes, keras.ops.convert_to_numpy(anchors))).max(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Suggested sizes.


def test_suggested_sizes_are_the_middles_of_groups():
    assert anchor_fit.suggest_sizes(np.array([10, 10, 40, 40, 40, 90]), 3) == (10.0, 40.0, 90.0)
    # The middle of 10 and 1000 in ratios is 100.
    assert anchor_fit.suggest_sizes(np.array([10.0, 1000.0]), 1) == (100.0,)


def test_there_may_be_fewer_boxes_than_sizes():
    assert anchor_fit.suggest_sizes(np.array([50.0]), 3) == (50.0,)


def test_no_size_is_suggested_twice(small_config):
    assert anchor_fit.suggest_sizes(np.array([50.0, 50.2, 50.3, 90.0]), 4) == (50.0, 90.0)
    values = {"anchors.sizes": "16,32", "anchors.ratios": "1", "anchors.size_per_level": True}
    config = small_config.replace({"model.backbone": "tiny"} | values)
    text = anchor_fit.size_advice([boxes_of((4, 4, 20, 20))], config, np.array([1.0]))
    assert "no suggestion: the boxes have only 1 sizes (16)" in text and "--set" not in text


def test_suggested_sizes_find_boxes_that_others_miss(small_config):
    boxes = [boxes_of((10, 10, 74, 74), (20, 30, 80, 90), (30, 5, 88, 63))]
    sizes = anchor_fit.suggest_sizes(box_statistics.sides(boxes), 2)
    few, all_found = (
        anchor_fit.best_overlaps(boxes, small_config, AnchorConfig(sizes=chosen, ratios=(1.0,)))
        for chosen in ((8.0, 16.0), sizes)
    )
    assert (few < 0.5).all() and (all_found >= 0.7).all()


# Boxes as training has them.


def test_boxes_are_in_pixels_of_the_network_input_without_difficult_ones(small_config):
    train, _ = build.load(small_config.data)
    sample = dataclasses.replace(
        train.samples[0],
        width=160,
        height=320,
        boxes=np.array([[10, 20, 40, 60], [0, 0, 9, 9]], "float32"),
        labels=np.array([2, 1]),
        difficult=np.array([False, True]),
    )
    config = small_config.data.replace(short_side=80, long_side=400)
    ((boxes, labels, size),) = box_statistics.input_boxes(
        dataclasses.replace(train, samples=(sample,)), config
    )
    np.testing.assert_allclose(boxes, [[5, 10, 20, 30]])
    assert labels.tolist() == [2] and size == (160, 80)
    np.testing.assert_allclose(box_statistics.sides([(boxes, labels, size)]), [np.sqrt(15 * 20)])


# The report.


def test_the_report_and_its_pictures(script, small_config, tmp_path, capsys):
    (tmp_path / "c.json").write_text(small_config.to_json())
    out = tmp_path / "out"
    script.main(f"--config {tmp_path / 'c.json'} --out {out} --images 3".split())
    text = (out / "report.txt").read_text()
    assert text in capsys.readouterr().out
    train, _ = build.load(small_config.data)
    assert text.startswith(train.summary())
    for part in (
        "boxes per class",
        "boxes by side",
        "boxes by aspect ratio",
        "IoU of 0.5",
        "IoU of 0.7",
    ):
        assert part in text
    assert "no faults" in text
    pattern = r"now: sizes 16,32: recall ([\d.]+)% at 0.5, ([\d.]+)% at 0.7"
    boxes = box_statistics.input_boxes(train, small_config.data)
    best = anchor_fit.best_overlaps(boxes, small_config, small_config.anchors)
    expected = [f"{100 * np.mean(best >= threshold):.1f}" for threshold in (0.5, 0.7)]
    assert list(re.search(pattern, text).groups()) == expected
    sizes = re.search(r"--set anchors.sizes=([\d,]+)", text)[1]
    assert len(small_config.replace({"anchors.sizes": sizes}).anchors.sizes) == 2
    with Image.open(out / "charts.png") as image:
        assert min(image.size) > 300
    assert len(list((out / "boxes").glob("*.png"))) == 3
    assert {path.name for path in out.iterdir()} == {"report.txt", "charts.png", "boxes"}


def test_a_second_report_replaces_the_first_and_nothing_else(small_config, tmp_path):
    out = tmp_path / "out"
    inspector.inspect(small_config, out, images=3)
    (out / "notes.txt").write_text("mine")
    Image.new("RGB", (4, 4)).save(out / "boxes" / "mine.png")
    (out / "skipped.csv").write_text("of an earlier report")
    inspector.inspect(small_config, out, images=1)
    assert {path.name for path in out.iterdir()} == {"report.txt", "charts.png", "boxes", "notes.txt"}
    drawn = {path.name for path in (out / "boxes").iterdir()}
    assert len(drawn) == 2 and "mine.png" in drawn


def test_augmented_images_are_drawn_and_are_those_of_training(small_config, tmp_path):
    config = small_config.replace({"augment.colour": 0.5, "augment.short_sides": "48,96"})
    inspector.inspect(config, tmp_path / "out", images=2, augmented=3)
    names = {path.name for path in (tmp_path / "out" / "augmented").iterdir()}
    assert len(names) == 6
    train, _ = build.load(config.data)
    loader = DataLoader(train, config.data, 1, config.train.seed, augment=config.augment)
    for batch in loader.epoch(1):
        for sample, image, size in zip(batch.samples, batch.images, batch.image_sizes.astype(int)):
            if f"{sample.name}_2.png" in names:
                drawn = list(inspector.draw_augmented(train, sample, config, 2))[1]
                row = batch.samples.index(sample)
                labels = batch.gt_labels[row][batch.gt_labels[row] >= 0]
                boxes = batch.gt_boxes[row][: len(labels)]
                expected = draw.draw(image[: size[0], : size[1]], boxes, labels, None, train.classes)
                np.testing.assert_array_equal(np.asarray(drawn), np.asarray(expected))
                names.remove(f"{sample.name}_2.png")
    assert len(names) == 4
    # A later report without them leaves no old ones.
    inspector.inspect(config, tmp_path / "out", images=2)
    assert not list((tmp_path / "out" / "augmented").iterdir())


@pytest.mark.parametrize("name", ["report.txt", "charts.png", "skipped.csv"])
def test_a_file_that_is_no_report_s_is_left_alone(small_config, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=f"{name} exists and was not written by"):
        inspector.inspect(small_config, tmp_path)
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_drawn_boxes_lie_where_the_objects_are(small_config):
    train, _ = build.load(small_config.data)
    plain = dataclasses.replace(train.samples[0], boxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    with_boxes, without = (
        np.asarray(inspector.draw_boxes(sample, train.classes, small_config.data)).astype(int)
        for sample in (train.samples[0], plain)
    )
    changed = np.abs(with_boxes - without).max(axis=2) > 0
    (boxes, _, (height, width)), *_ = box_statistics.input_boxes(train, small_config.data)
    assert with_boxes.shape[0] % height == 0 and with_boxes.shape[1] % width == 0
    factor = with_boxes.shape[0] // height
    x1, _, x2, y2 = np.rint(boxes[0] * factor).astype(int)
    assert changed[y2 - 2 : y2 + 1, x1 + 3 : x2 - 3].any(axis=0).all()


def spoil(folder):
    """Damage one image as only decoding tells, and one annotation."""
    damage(folder / "JPEGImages" / "train_000002.jpg")
    path = folder / "Annotations" / "train_000005.xml"
    path.write_text(path.read_text().replace("<xmin>", "<xmin>x", 1))


def test_faults_are_those_of_training_and_those_that_decoding_tells(
    script, small_config, folder, tmp_path, capfd
):
    spoil(folder)
    classes = {"data.classes": "circle,square,triangle", "data.dir": str(folder)}
    (tmp_path / "c.json").write_text(small_config.replace(classes).to_json())
    with pytest.raises(DataError) as caught:
        build.load(small_config.replace(classes).data)
    fault = str(caught.value).split(": ", 1)[1].split("; mend")[0]
    line = f"--config {tmp_path / 'c.json'} --out {tmp_path / 'out'} --images 1"
    with pytest.raises(SystemExit) as status:
        common.run(lambda: script.main(line.split()))
    assert status.value.code == 2
    error = capfd.readouterr().err
    assert fault in error and "train_000002.jpg cannot be decoded" in error
    text = (tmp_path / "out" / "report.txt").read_text()
    assert "6 images" in text and "2 faults" in text and fault in text

    script.main(f"{line} --on-bad-data skip".split())
    script.main(f"{line} --on-bad-data skip".split())  # and again, into the same folder
    with open(tmp_path / "out" / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["train_000005", "train_000002"]


def test_images_that_exif_turns_are_named_and_drawn(small_config, folder, tmp_path, capsys):
    path = folder / "JPEGImages" / "train_000003.jpg"
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(path) as image:
        image.load()
    image.save(path, exif=exif)
    inspector.inspect(small_config.replace({"data.dir": str(folder)}), tmp_path / "out", images=2)
    assert "1 turned upright by their EXIF, see that their boxes fit: train_000003" in (
        capsys.readouterr().out
    )
    assert (tmp_path / "out" / "boxes" / "train_000003.png").exists()


def test_a_data_set_without_objects_is_reported(small_config, folder, tmp_path, capsys):
    for path in (folder / "Annotations").glob("*.xml"):
        path.write_text("<annotation/>")
    inspector.inspect(small_config.replace({"data.dir": str(folder)}), tmp_path / "out")
    assert "8 without objects" in capsys.readouterr().out
    assert not (tmp_path / "out" / "charts.png").exists()


@pytest.mark.parametrize(
    "line, says",
    [
        ("--images -1", "--images must not be below 0"),
        ("--config missing.json", "there is no config file missing.json"),
        ("--data-dir nowhere", "no VOC2007 in nowhere"),
        ("--set anchors.size=3", "did you mean anchors.sizes?"),
        ("--on-bad-data maybe", "data.on_bad_data must be one of error, skip, clip, not 'maybe'"),
    ],
)
def test_what_is_wrong_is_one_line(script, line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        common.run(lambda: script.main(line.split()))
    assert caught.value.code == 2
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: ") and says in error


def test_options_set_their_settings(script):
    line = "--dataset voc --data-dir d --year 2012 --split s --on-bad-data skip --backbone resnet50_fpn "
    arguments = script.parse((line + "--short-side 8 --long-side 9").split())
    config = common.settings_of(arguments, script.OPTIONS).config
    data = config.data
    assert (data.dir, data.year, data.train_split, data.on_bad_data) == ("d", "2012", "s", "skip")
    assert (data.short_side, data.long_side) == (8, 9)
    assert config.anchors.size_per_level


def test_real_cells(script, tmp_path, capsys):
    if not (REAL / "bccd").is_dir():
        pytest.skip(f"the real data set bccd is not in {REAL}")
    line = f"--data-dir {REAL / 'bccd'} --split trainval --images 1 --out {tmp_path} --on-bad-data skip"
    script.main(line.split())
    text = capsys.readouterr().out
    assert "290 images, 3917 boxes" in text and "2 faults" in text
    assert "BloodImage_00338.xml box 13" in text and "BloodImage_00343.xml box 4" in text
