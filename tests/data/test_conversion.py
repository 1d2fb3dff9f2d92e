"""From each format to each other and back: the same boxes and classes, and every loss counted."""

import itertools
import os

import labelled
import numpy as np
import pytest
from labelled import OBJECTS, WRITERS, coco_content, images, write

from frcnn.cli import convert
from frcnn.data.labels import Choice
from frcnn.data.sources import open_source
from frcnn.errors import ConfigError, DataError, OutputError


def read(root, split="train", **choice):
    """Return the data set of a folder in which nothing is wrong."""
    dataset, faults = open_source(root).collect(split, Choice(**choice))
    assert [str(fault) for fault in faults] == []
    return dataset


def objects_of(dataset):
    """Return {image: [(class, box, difficult, crowd)]}, the boxes as they are."""
    found = {}
    for sample in dataset.samples:
        crowd = [False] * len(sample.boxes) if sample.crowd is None else sample.crowd.tolist()
        found[os.path.basename(sample.name)] = [
            (dataset.classes[label], tuple(box), difficult, is_crowd)
            for label, box, difficult, is_crowd in zip(
                sample.labels, sample.boxes.tolist(), sample.difficult.tolist(), crowd
            )
        ]
    return found


EXPECTED = {
    name: [(one, tuple(map(float, box)), False, False) for one, box in objects]
    for name, objects in OBJECTS.items()
}


def without_empty(format, expected):
    """Return what is read again: OpenImages lists no image without objects."""
    return {name: own for name, own in expected.items() if own or format != "openimages"}


@pytest.mark.parametrize("target", convert.TARGETS)
@pytest.mark.parametrize("source", WRITERS)
def test_from_each_format_to_each_other(tmp_path, source, target, capsys):
    WRITERS[source](tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", target])
    out = open_source(tmp_path / "out")
    assert out.format == ("csv" if target == "openimages" else target)
    dataset = read(tmp_path / "out")
    both = objects_of(dataset)
    if target != "voc":  # VOC's lists are taken as they are; a lone "train" of others is divided
        both |= objects_of(read(tmp_path / "out", "val", classes=dataset.classes))
    assert both == without_empty(target, EXPECTED)
    printed = capsys.readouterr().out
    assert ("1 images have no object" in printed) == (target == "openimages")


def coco_with_flags(root):
    """Write a data set with fractions, a crowd, a difficult object, an area, and a class unused."""
    images(root / "train2017")
    content = coco_content(
        categories=[{"id": 1, "name": "zebra"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}]
    )
    first, second, third = content["annotations"]
    first |= {"bbox": [2.25, 3.5, 19.53, 14.01], "area": 100.5, "segmentation": [[1, 1, 2, 2, 3, 1]]}
    second |= {"iscrowd": 1}
    third |= {"ignore": 1}
    write(root, "annotations/instances_train2017.json", content)


FLAGS = {
    "a": [("cat", (2.25, 3.5, 21.78, 17.51), False, False), ("dog", (10, 10, 40, 30), True, True)],
    "b": [("dog", (0, 0, 12, 9), True, False)],
    "c": [],
}


@pytest.mark.parametrize("target", convert.TARGETS)
def test_what_a_format_cannot_say_is_counted(tmp_path, target, capsys):
    coco_with_flags(tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", target])
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    text = "\n".join(notes)
    root = tmp_path / "out"
    dataset, faults = open_source(root).collect("train", Choice())
    assert not faults
    found = objects_of(dataset)
    if target != "voc":
        found |= objects_of(read(root, "val", classes=dataset.classes))
    fits = "polygons more than 1 pixel apart from their boxes" in text  # it does not
    assert fits == (target in ("yolo", "cvat", "labelme"))
    assert ("1 objects have polygons, which" in text) == (target in ("csv", "dota", "openimages"))
    assert ("the area of a mask" in text) == (target != "coco")
    assert ("1 objects are difficult, which" in text) == (target in ("yolo", "openimages"))
    assert ("1 objects are crowds, which" in text) == (target in ("yolo", "voc", "dota"))
    assert ("does not store the order" in text) == (target in ("voc", "dota", "labelme", "openimages"))
    says_crowd = target not in ("yolo", "voc", "dota")
    says_difficult = target not in ("yolo", "openimages")
    expected = {}
    for name, objects in FLAGS.items():
        expected[name] = [
            (one, box, (difficult and says_difficult) or (crowd and says_crowd), crowd and says_crowd)
            for one, box, difficult, crowd in objects
            if not (crowd and target == "yolo")
        ]
    assert found.keys() == without_empty(target, expected).keys()
    for name, objects in found.items():
        for own, other in zip(objects, expected[name], strict=True):
            assert own[0] == other[0] and own[2:] == other[2:]
            np.testing.assert_allclose(own[1], other[1], atol=0.0011)
    if target in ("coco", "yolo", "csv", "cvat"):
        assert dataset.classes == ("zebra", "cat", "dog")


def test_coco_to_coco_loses_nothing(tmp_path, capsys):
    coco_with_flags(tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", "coco"])
    assert "note: " not in capsys.readouterr().out
    pairs = zip(
        open_source(tmp_path / "in").collect("train", Choice())[0].samples,
        open_source(tmp_path / "out").collect("train", Choice())[0].samples,
        strict=True,
    )
    for before, after in pairs:
        for name in ("boxes", "labels", "difficult", "crowd", "area"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_thin_boxes_are_left_out_and_counted(tmp_path, capsys):
    content = coco_content()
    content["annotations"][0]["bbox"] = [3, 3, 0.5, 9]
    images(tmp_path / "in" / "train")
    write(tmp_path, "in/train.json", content)
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", "csv"])
    assert "1 boxes are too thin to be read again" in capsys.readouterr().out
    assert len(objects_of(read(tmp_path / "out"))) > 0


def test_folders_are_merged_filtered_renamed_and_divided(tmp_path, capsys):
    labelled.coco(tmp_path / "one")
    labelled.yolo(tmp_path / "two")
    arguments = ["--to", "voc", "--rename", "cat=pet", "--classes", "pet", "--val-share", "0.5"]
    convert.main([str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "out"), *arguments])
    printed = capsys.readouterr().out
    assert (
        "3 images have new file names" in printed
        and "dropped objects of other classes: dog 2" in printed
    )
    train, val = (read(tmp_path / "out", split) for split in ("train", "val"))
    names = objects_of(train) | objects_of(val)
    assert len(train) + len(val) == 6 and len(names) == 6
    assert sum(len(own) for own in names.values()) == 2 and train.classes + val.classes == ("pet",)


def test_the_order_of_the_images_is_kept(tmp_path):
    images(tmp_path / "in" / "train")
    content = coco_content()
    content["images"].reverse()
    write(tmp_path, "in/train.json", content)
    for target in ("voc", "coco", "yolo", "csv", "cvat"):
        convert.main(
            [str(tmp_path / "in"), str(tmp_path / target), "--to", target, "--val-share", "0.9"]
        )
        orders = []
        for split in open_source(tmp_path / target).splits():
            orders.append([os.path.basename(one.name) for one in read(tmp_path / target, split).samples])
        assert sorted(itertools.chain(*orders)) == list("abc")
        assert all(order == sorted(order, reverse=True) for order in orders)


@pytest.mark.parametrize("how", ["copy", "link", "none"])
def test_images_are_copied_linked_or_left(tmp_path, how):
    labelled.coco(tmp_path / "in")
    convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", "voc", "--images", how])
    files = sorted((tmp_path / "out").rglob("*.jpg"))
    assert len(files) == (0 if how == "none" else 3)
    assert all(file.is_symlink() == (how == "link") for file in files)
    assert all(file.read_bytes() == (tmp_path / "in/images" / file.name).read_bytes() for file in files)


def test_nothing_is_overwritten(tmp_path):
    labelled.coco(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="is not empty"):
        convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", "voc"])
    assert os.listdir(tmp_path / "out") == ["mine.txt"]
    with pytest.raises(ConfigError, match="must not be inside SRC"):
        convert.main([str(tmp_path / "in"), str(tmp_path / "in" / "out"), "--to", "voc"])


def test_a_fault_writes_nothing(tmp_path, capsys):
    labelled.coco(tmp_path / "in")
    (tmp_path / "in" / "images" / "b.jpg").unlink()
    arguments = [str(tmp_path / "in"), str(tmp_path / "out"), "--to", "voc"]
    with pytest.raises(DataError, match="there is no image"):
        convert.main(arguments)
    assert sorted(os.listdir(tmp_path)) == ["in"]
    convert.main([*arguments, "--on-bad-data", "skip"])
    assert "skipped: b: " in capsys.readouterr().out and len(read(tmp_path / "out")) == 2


def test_a_folder_without_labels_is_not_called_voc(tmp_path):
    write(tmp_path, "in/notes.txt", "")
    with pytest.raises(DataError, match="in holds no labels in a known format .* it holds notes.txt"):
        convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--to", "voc"])


def test_splits_are_chosen_and_named(tmp_path):
    images(tmp_path / "in" / "images")
    for name in ("fold1", "fold2"):
        write(tmp_path, f"in/{name}.json", coco_content())
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    with pytest.raises(
        ConfigError, match="no split fold1, only train, val, test: .*--split fold1=train"
    ):
        convert.main([source, out, "--to", "yolo"])
    with pytest.raises(DataError, match="no source has the split fold3, did you mean"):
        convert.main([source, out, "--to", "yolo", "--split", "fold3=train"])
    with pytest.raises(DataError, match="a.jpg is in .*fold1 and in .*fold2"):
        convert.main([source, out, "--to", "yolo", "--split", "fold1=train", "--split", "fold2=val"])
    convert.main([source, out, "--to", "yolo", "--split", "fold2=val"])
    assert open_source(out).splits() == ["val"]


def test_classes_with_odd_names_are_kept(tmp_path):
    names = ["a;b;c", 'say "x", y', "<&>", "# no: comment", "猫", "0"]
    images(tmp_path / "in" / "train", "a")
    annotations = [
        {"image_id": 7, "category_id": number, "bbox": [number, 2, 9, 9]} for number in range(len(names))
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
    }
    write(tmp_path, "in/train.json", content)
    for target in convert.TARGETS:
        convert.main([str(tmp_path / "in"), str(tmp_path / target), "--to", target])
        (objects,) = objects_of(read(tmp_path / target)).values()
        assert [one[0] for one in objects] == names, target
