"""Polygons that ``frcnn convert`` keeps: from each format to each other and back."""

import json

import numpy as np
import pytest
from labelled import coco_content, images, write
from PIL import Image

from frcnn.cli import convert
from frcnn.data.labels import Choice
from frcnn.data.sources import open_source

TRIANGLE = [(2.5, 3.0), (21.25, 5.5), (9.0, 17.75)]  # its box: 2.5, 3, 21.25, 17.75
POLYGON_FORMATS = ("coco", "yolo", "cvat", "labelme", "voc")


def with_polygons(root, **changes):
    """Write a data set whose first object has a polygon."""
    images(root / "images")
    content = coco_content()
    polygon = {"bbox": [2.5, 3.0, 18.75, 14.75], "area": 18.75 * 14.75}
    polygon |= {"segmentation": [[*np.ravel(TRIANGLE)]]}
    content["annotations"][0] |= polygon | changes
    write(root, "train.json", content)


def converted(source, out, target, *options):
    convert.main([str(source), str(out), "--to", target, *options])
    return out


def shapes_of(root):
    """Return {image: [(class, box, rings or None)]} of all splits, in one order."""
    source, found = open_source(root), {}
    for split in source.splits():
        dataset, faults = source.collect(split or "all", Choice(outlines=True), divide=False)
        assert not faults
        for sample in dataset.samples:
            outlines = sample.outlines or [None] * len(sample.boxes)
            found[sample.name.rpartition("/")[2]] = sorted(
                (
                    dataset.classes[label],
                    np.round(box, 3).tolist(),
                    outline and [np.round(ring, 3).tolist() for ring in outline.rings],
                )
                for label, box, outline in zip(sample.labels, sample.boxes.tolist(), outlines)
            )
    return found


def without_corners(shapes):
    """Return shapes in which a polygon of a box's four corners is that box, as YOLO needs it."""
    return {
        name: [
            (label, box, rings if rings and len(rings[0]) != 4 else None) for label, box, rings in own
        ]
        for name, own in shapes.items()
    }


@pytest.mark.parametrize("source", POLYGON_FORMATS)
def test_polygons_go_through_each_format_and_back(tmp_path, source, capsys):
    with_polygons(tmp_path / "in")
    start = converted(tmp_path / "in", tmp_path / "start", source)
    expected = without_corners(shapes_of(tmp_path / "in"))
    assert expected["a"][0] == ("cat", [2.5, 3.0, 21.25, 17.75], [list(map(list, TRIANGLE))])
    assert without_corners(shapes_of(start)) == expected
    for target in POLYGON_FORMATS:
        there = converted(start, tmp_path / target, target)
        back = converted(there, tmp_path / f"{target}-back", source)
        assert without_corners(shapes_of(there)) == expected, target
        assert without_corners(shapes_of(back)) == expected, target
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert all("polygons of four corners" in note or "order of the classes" in note for note in notes)


def test_formats_of_boxes_count_the_polygons(tmp_path, capsys):
    with_polygons(tmp_path / "in")
    for target in ("csv", "openimages"):
        converted(tmp_path / "in", tmp_path / target, target)
        text = f"note: 1 objects have polygons, which {target} does not store: their boxes are written"
        assert text in capsys.readouterr().out


def test_what_only_coco_says(tmp_path, capsys):
    two = [[*np.ravel(TRIANGLE)], [3, 3, 9, 3, 9, 9]]
    with_polygons(tmp_path / "parts", segmentation=two)
    rle = {"size": [30, 40], "counts": [100, 5, 1095]}
    with_polygons(tmp_path / "mask", segmentation=rle, iscrowd=1)
    for name, kept in (("parts", two), ("mask", rle)):
        converted(tmp_path / name, tmp_path / f"{name}-coco", "coco")
        assert "note: " not in capsys.readouterr().out
        (file,) = (tmp_path / f"{name}-coco" / "annotations").iterdir()
        assert json.loads(file.read_text())["annotations"][0]["segmentation"] == kept
        converted(tmp_path / name, tmp_path / f"{name}-labelme", "labelme")
        printed = capsys.readouterr().out
        what = {
            "parts": "several polygons, of which labelme stores one",
            "mask": "masks or circles",
        }
        assert f"1 objects {'have' if name == 'parts' else 'are'} {what[name]}" in printed
        assert all(rings is None for _, _, rings in shapes_of(tmp_path / f"{name}-labelme")["a"])


def test_a_box_that_is_not_the_polygons_is_said(tmp_path, capsys):
    for name, x, text in (
        ("near", 2.9, "note: 1 objects get the boxes around their polygons, up to 0.4 pixels apart"),
        ("far", 9, "note: 1 objects have polygons more than 1 pixel apart from their boxes"),
    ):
        with_polygons(tmp_path / name, bbox=[x, 3.0, 21.25 - x, 14.75])
        for target in ("yolo", "cvat", "labelme"):
            out = converted(tmp_path / name, tmp_path / f"{name}-{target}", target)
            assert text in capsys.readouterr().out
            ((_, box, rings), _) = shapes_of(out)["a"]
            assert box[0] == (2.5 if name == "near" else 9) and (rings is None) == (name == "far")
        out = converted(tmp_path / name, tmp_path / f"{name}-voc", "voc")  # it says both
        ((_, box, rings), _) = shapes_of(out)["a"]
        assert round(box[0], 3) == x and rings


def test_a_polygon_turns_with_its_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "in" / "images"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(folder / "a.jpg", exif=exif)  # upright: 30x40
    content = coco_content()
    content["images"], content["annotations"] = content["images"][:1], content["annotations"][:1]
    content["annotations"][0] |= {
        "bbox": [2.5, 3.0, 18.75, 14.75],
        "segmentation": [[*np.ravel(TRIANGLE)]],
    }
    write(tmp_path, "in/train.json", content)
    out = converted(tmp_path / "in", tmp_path / "out", "voc")
    ((_, box, (ring,)),) = shapes_of(out)["a"]
    assert ring == [[27.0, 2.5], [24.5, 21.25], [12.25, 9.0]]
    assert box == [12.25, 2.5, 27.0, 21.25]


def test_polygons_are_not_kept_for_training(tmp_path):
    with_polygons(tmp_path / "in")
    for target in POLYGON_FORMATS:
        root = converted(tmp_path / "in", tmp_path / target, target)
        dataset, _ = open_source(root).collect("train", Choice())
        assert all(sample.outlines is None for sample in dataset.samples)


def test_broken_polygons_beside_boxes_are_counted(tmp_path, capsys):
    with_polygons(tmp_path / "in", segmentation=[[1, 2, 3], ["x"]])
    converted(tmp_path / "in", tmp_path / "out", "coco")
    assert "1 objects are masks or circles" in capsys.readouterr().out
