"""Oriented boxes in each format of labels: the same objects in each, faults, and conversions."""

import math
import pathlib

import numpy as np
import pytest
from labelled import images, write

from frcnn.cli import convert
from frcnn.data import four_points, oriented
from frcnn.data.labels import Choice
from frcnn.data.recognise import recognise
from frcnn.data.sources import open_source
from frcnn.errors import DataError

SHARED = pathlib.Path(__file__).parents[2].parent / "shared" / "data" / "hituav_rotated"
ORIENTED_FORMATS = ("voc", "dota", "yolo", "csv", "cvat", "labelme")
# Four corners of a rectangle of 10 x 4 pixels with its centre at (20, 15), turned by 30 degrees.
BOX = np.array([20, 15, 10, 4, math.pi / 6])
CORNERS = oriented.corners(BOX)
QUAD = np.array([(10, 5), (30, 6), (32, 14), (11, 12)], "float64")  # no rectangle


def read(root, split="train", **choice):
    dataset, faults = open_source(root).collect(split, Choice(**choice), divide=False)
    assert [str(fault) for fault in faults] == []
    return dataset


def objects_of(root, *splits):
    """Return {image: [(class, difficult, corners from the upper left)]} of all or some splits."""
    found = {}
    for split in splits or open_source(root).splits():
        dataset = read(root, split or "all")
        for sample in dataset.samples:
            corners = oriented.corners(sample.boxes_of("oriented").astype("float64"))
            # One order of the corners, whichever side is called the width.
            order = [np.roll(own, -np.argmin(own.round(1) @ [1, 1.01]), axis=0) for own in corners]
            own = zip(sample.labels, sample.difficult.tolist(), order, strict=True)
            found[pathlib.Path(sample.name).name] = [
                (dataset.classes[label], difficult, corners) for label, difficult, corners in own
            ]
    return found


def assert_same(found, expected, difficult=True, atol=2e-3):
    assert found.keys() == expected.keys()
    for name, objects in expected.items():
        for own, other in zip(found[name], objects, strict=True):
            assert own[0] == other[0] and (own[1] == other[1] or not difficult)
            np.testing.assert_allclose(own[2], other[2], atol=atol)


def text_of(corners, sides=(1, 1), sign=" "):
    return sign.join(f"{value:.8f}" for value in (corners / sides).ravel())


def dota(root, *lines):
    images(root / "train" / "images", "a")
    text = "\n".join(["imagesource:GoogleEarth", "gsd:0.146", *lines])
    write(root, "train/labelTxt/a.txt", text)


def yolo(root, *lines):
    images(root / "images", "a")
    write(root, "labels/a.txt", "\n".join(lines))
    write(root, "classes.txt", "cat\nlarge vehicle\n")


def csv(root, *lines):
    images(root, "a")
    write(root, "labels.csv", "\n".join(lines))


def one(root):
    (sample,) = read(root, "train" if open_source(root).splits() == ["train"] else "all").samples
    return sample


def test_dota(tmp_path):
    dota(tmp_path, f"{text_of(CORNERS)} large-vehicle 1", f"{text_of(QUAD)} small vehicle 0")
    assert recognise(tmp_path)[0]["data.format"] == "dota"
    sample = one(tmp_path)
    np.testing.assert_allclose(sample.oriented[0], BOX, atol=1e-4)
    np.testing.assert_allclose(sample.boxes[1], [10, 5, 32, 14])  # around the corners
    assert sample.difficult.tolist() == [True, False]
    assert read(tmp_path).classes == ("large-vehicle", "small vehicle")


@pytest.mark.parametrize(
    "folders", [("images/train", "labelTxt-v1.5/train"), ("images", "labelTxt"), ("train", "train")]
)
def test_folders_of_dota(tmp_path, folders):
    images(tmp_path / folders[0], "ab")
    for name in "ab":
        write(tmp_path, f"{folders[1]}/{name}.txt", f"{text_of(CORNERS)} plane 0\n")
    source = open_source(tmp_path)
    assert source.format == "dota" and source.splits() == ["train" if "train" in folders[1] else None]
    assert len(read(tmp_path, "train" if "train" in folders[1] else "all")) == 2


def test_dota_words_are_divided_by_spaces_or_tabs(tmp_path):
    corners = text_of(CORNERS, sign="\t")
    ends = "\tlarge\tvehicle\t1", "\tcat\t0", "  cat", " 7 0"
    dota(tmp_path, *(corners + end for end in ends))
    dataset = read(tmp_path)
    assert dataset.classes == ("7", "cat", "large vehicle")
    assert dataset.samples[0].difficult.tolist() == [True, False, False, False]


def test_five_corners_in_dota_are_a_fault_and_not_a_class(tmp_path):
    dota(tmp_path, f"{text_of(CORNERS)} 3 4 cat 0", f"{text_of(CORNERS)} cat 0")
    _, faults = open_source(tmp_path).collect("train", Choice())
    assert "line 3" in str(faults) and "more than eight numbers" in str(faults)


def test_dota_begins_with_images_without_objects(tmp_path):
    for number in range(25):
        write(tmp_path, f"train/labelTxt/{number:02}.txt", "imagesource:GoogleEarth\ngsd:null\n")
    write(tmp_path, "train/labelTxt/25.txt", f"{text_of(CORNERS)} cat 0\n")
    images(tmp_path / "train" / "images", [f"{number:02}" for number in range(26)])
    assert open_source(tmp_path).format == "dota"
    assert len(read(tmp_path)) == 26


@pytest.mark.parametrize("text", ["", "imagesource:GoogleEarth\ngsd:null\n"])
def test_dota_without_objects(tmp_path, text):
    images(tmp_path / "train" / "images", "a")
    write(tmp_path, "train/labelTxt/a.txt", text)
    assert open_source(tmp_path).format == "dota"
    assert len(read(tmp_path).samples[0].boxes) == 0


def test_yolo_obb(tmp_path):
    yolo(tmp_path, f"1 {text_of(CORNERS, (40, 30))}", f"0 {text_of(QUAD, (40, 30))}")
    sample = one(tmp_path)
    np.testing.assert_allclose(sample.oriented[0], BOX, atol=1e-3)
    np.testing.assert_allclose(sample.boxes[1], [10, 5, 32, 14], atol=1e-5)


def test_four_corners_among_polygons_are_a_polygon(tmp_path):
    yolo(tmp_path, f"1 {text_of(CORNERS, (40, 30))}", "0 0.1 0.1 0.5 0.2 0.3 0.9")
    sample = one(tmp_path)
    assert sample.oriented is None
    np.testing.assert_allclose(sample.boxes[0], oriented.outer(BOX), atol=1e-3)


def test_one_polygon_among_many_four_corners_is_named(tmp_path):
    four = f"1 {text_of(CORNERS, (40, 30))}"
    yolo(tmp_path, four, "0 0.1 0.1 0.5 0.2 0.3 0.9", four)
    (note,) = read(tmp_path, "all").notes
    assert note.startswith("1 of 3 objects do not have four corners, the first in ")
    assert "a.txt line 2: so no object has an angle" in note


@pytest.mark.parametrize("shares", [False, True])
def test_four_point_csv(tmp_path, shares):
    sides = (40, 30) if shares else (1, 1)
    header = "class,image,x1,y1,x2,y2,x3,y3,x4,y4"
    csv(tmp_path, header, f"cat,a.jpg,{text_of(CORNERS, sides, ',')}")
    np.testing.assert_allclose(one(tmp_path).oriented, BOX[None], atol=1e-3)


def test_four_point_csv_without_header(tmp_path):
    csv(tmp_path, f"a.jpg,{text_of(CORNERS, sign=',')},cat")
    np.testing.assert_allclose(one(tmp_path).oriented, BOX[None], atol=1e-4)


@pytest.mark.parametrize("corners", [3, 5])
def test_csv_of_other_than_four_corners_is_refused(tmp_path, corners):
    header = ",".join(f"x{number},y{number}" for number in range(1, corners + 1))
    csv(tmp_path, f"path,{header},class", f"a.jpg{',9' * 2 * corners},cat")
    with pytest.raises(DataError, match="labels.csv: has the columns x1,x2,x3.* or x1,y1,.*,x4,y4$"):
        open_source(tmp_path).collect("all", Choice())


def test_other_formats_have_angles_too(tmp_path):
    box = '<box label="cat" xtl="15" ytl="13" xbr="25" ybr="17" rotation="30"/>'
    images(tmp_path / "cvat", "a")
    text = f'<annotations><version>1.1</version><image name="a.jpg">{box}</image></annotations>'
    write(tmp_path, "cvat/annotations.xml", text)
    images(tmp_path / "labelme", "a")
    shape = {"label": "cat", "points": CORNERS.tolist(), "shape_type": "oriented_rectangle"}
    write(tmp_path, "labelme/a.json", {"imagePath": "a.jpg", "shapes": [shape]})
    images(tmp_path / "flat", "a")
    numbers = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(("cx", "cy", "w", "h", "angle"), BOX))
    text = f"<object><name>cat</name><robndbox>{numbers}</robndbox></object>"
    write(tmp_path, "flat/a.xml", f"<annotation>{text}</annotation>")
    for name in ("cvat", "labelme", "flat"):
        np.testing.assert_allclose(one(tmp_path / name).oriented, BOX[None], atol=1e-4)


FAULTS = {
    "words": ("1 2 3 4 5 6 7 x plane 0", "expected eight numbers, a class"),
    "no class": ("1 2 3 4 5 6 7 8", "expected eight numbers, a class"),
    "thin": ("5 5 20 5 20 5.5 5 5.5 plane 0", "is less than 1 pixel wide or high: 5, 5, 20"),
    "outside": ("50 5 60 5 60 15 50 15 plane 0", "has its centre outside the 40x30 image: 50, 5"),
    "shares": ("0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9 plane 0", "look like shares"),
    "far": ("1e300 5 60 5 60 15 50 15 plane 0", "expected eight numbers"),
}


@pytest.mark.parametrize("line, text", FAULTS.values(), ids=FAULTS)
def test_faults_name_the_file_and_the_line(tmp_path, line, text):
    dota(tmp_path, f"{text_of(CORNERS)} plane 0", line)
    (fault,) = open_source(tmp_path).collect("train", Choice(), divide=False)[1]
    assert text in str(fault) and "train/labelTxt/a.txt line 4" in str(fault)


def test_least_rectangles():
    rng = np.random.default_rng(0)
    for _ in range(200):
        box = np.array([*rng.uniform(0, 4000, 2), *rng.uniform(2, 500, 2), rng.uniform(-4, 4)])
        found = four_points.least_rectangle(oriented.corners(box))
        assert four_points.apart(oriented.corners(box), found) < 1e-3
        assert abs(found[4]) <= math.pi / 4 + 1e-6
    around = four_points.least_rectangle(QUAD)
    assert 9 * 22 > np.prod(around[2:4]) > 150  # less than the box around the corners
    lines = oriented.corners(around)
    for start, end in zip(lines, np.roll(lines, -1, axis=0)):  # all corners lie within
        along = (end - start) / np.linalg.norm(end - start)
        assert ((QUAD - start) @ [-along[1], along[0]] > -1e-4).all()


def voc(root):
    """Write a VOC folder with a turned object, one that reaches out, a plain box, and an empty image."""
    images(root / "JPEGImages", "ab")
    objects = ""
    for name, numbers in (("cat", (20, 15, 10, 4, 0.5)), ("dog", (38, 15, 12, 6, 2.5))):
        tags = zip(("cx", "cy", "w", "h", "angle"), numbers)
        inner = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        objects += f"<object><name>{name}</name><robndbox>{inner}</robndbox></object>"
    corners = "<xmin>3</xmin><ymin>4</ymin><xmax>12</xmax><ymax>9</ymax>"
    objects += f"<object><name>dog</name><difficult>1</difficult><bndbox>{corners}</bndbox></object>"
    write(root, "Annotations/a.xml", f"<annotation>{objects}</annotation>")
    write(root, "Annotations/b.xml", "<annotation></annotation>")
    write(root, "ImageSets/Main/train.txt", "a\nb\n")


@pytest.mark.parametrize("target", ORIENTED_FORMATS)
def test_oriented_boxes_go_through_each_format_and_back(tmp_path, target, capsys):
    voc(tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", target])
    convert.main([str(tmp_path / "out"), str(tmp_path / "back"), "--to", "voc"])
    expected = objects_of(tmp_path / "in")
    says_difficult = target != "yolo"
    for root in ("out", "back"):
        assert_same(objects_of(tmp_path / root), expected, says_difficult)
    printed = capsys.readouterr().out
    assert ("1 objects have corners outside their images" in printed) == (target == "yolo")
    assert "have an angle" not in printed and "no rectangle" not in printed
    straight = read(tmp_path / "out").samples[0].boxes
    np.testing.assert_allclose(straight, read(tmp_path / "in").samples[0].boxes, atol=2e-3)


@pytest.mark.parametrize(
    "target, text", [("coco", "are polygons of four corners"), ("openimages", "the")]
)
def test_formats_without_angles_count_them(tmp_path, target, text, capsys):
    voc(tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", target])
    printed = capsys.readouterr().out
    assert f"2 objects have an angle, which {target} does not store: the" in printed and text in printed
    sample = read(tmp_path / "out", outlines=True).samples[0]
    np.testing.assert_allclose(sample.boxes, read(tmp_path / "in").samples[0].boxes, atol=2e-3)
    assert sample.oriented is None
    if target == "coco":
        (ring,) = sample.outlines[0].rings
        np.testing.assert_allclose(ring, oriented.corners(np.array([20, 15, 10, 4, 0.5])), atol=2e-3)


@pytest.mark.parametrize("target", ORIENTED_FORMATS)
def test_corners_that_are_no_rectangle(tmp_path, target, capsys):
    dota(tmp_path / "in", f"{text_of(QUAD)} cat 0", f"{text_of(CORNERS)} cat 0")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", target])
    convert.main([str(tmp_path / "out"), str(tmp_path / "back"), "--to", "dota"])
    assert_same(objects_of(tmp_path / "back"), objects_of(tmp_path / "in"))
    exact = (tmp_path / "back/train/labelTxt/a.txt").read_text().startswith("10 5 30 6 32 14 11 12 cat")
    moved = "1 objects have four corners that are not those of a rectangle" in capsys.readouterr().out
    assert exact == (not moved) == (target not in ("cvat", "labelme"))


def test_polygons_beside_oriented_boxes_are_counted(tmp_path, capsys):
    voc(tmp_path / "in")
    path = tmp_path / "in/Annotations/a.xml"
    ring = "<polygon>" + "".join(f"<x{n}>{n}</x{n}><y{n}>9</y{n}>" for n in range(1, 6)) + "</polygon>"
    path.write_text(path.read_text().replace("<bndbox>", f"{ring}<bndbox>"))
    for target in ("yolo", "dota", "csv"):
        convert.main([str(tmp_path / "in"), str(tmp_path / target), "--to", target])
        text = f"1 objects have polygons, which {target} does not store beside oriented boxes"
        assert text in capsys.readouterr().out
        assert_same(objects_of(tmp_path / target), objects_of(tmp_path / "in"), target != "yolo")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/hituav_rotated")
@pytest.mark.parametrize("target", ORIENTED_FORMATS)
def test_real_labels_are_the_same_in_each_format(tmp_path, target):
    out = tmp_path / "out"
    convert.main([str(SHARED), str(out), "--to", target, "--images", "link", "--split", "val"])
    expected = objects_of(SHARED, "val")
    assert sum(map(len, expected.values())) == 621
    assert_same(objects_of(out, "val"), expected, target != "yolo")
