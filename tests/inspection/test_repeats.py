"""What a data set holds twice, worked by hand."""

import labelled
import numpy as np
from PIL import Image

from frcnn.data.labels import Choice
from frcnn.data.sources import open_source
from frcnn.inspection.repeats import MOST, box_pairs, missing_classes, repeats, same_images


def splits_of(root):
    """Write two splits of four images, of which train/b is val/b, and val/c is val/d; return them."""
    pixels = {"train/a": 1, "train/b": 2, "val/b": 2, "val/c": 3, "val/d": 3}
    for name, value in pixels.items():
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 40, 3), value, "uint8")).save(path)
    train = "train/a.png,1,1,21,21,cat\ntrain/a.png,1,1,21,20.5,dog\ntrain/b.png,1,1,9,9,cat\n"
    labelled.write(root, "train.csv", train)
    labelled.write(root, "val.csv", "".join(f"val/{name}.png,1,1,9,9,cat\n" for name in "bcd"))
    source = open_source(root)
    return [source.collect(split, Choice(("cat", "dog")))[0] for split in ("train", "val")]


def test_boxes_on_each_other_are_named_with_their_classes(tmp_path):
    train, val = splits_of(tmp_path)
    assert box_pairs(train) == ["train/a: cat and dog at [1, 1, 21, 21]"]
    assert box_pairs(val) == []


def test_images_of_the_same_content_are_found_within_and_between_splits(tmp_path):
    train, val = splits_of(tmp_path)
    name = tmp_path.name
    between = f"train/b ({name} train), val/b ({name} val)"
    within = f"val/c ({name} val), val/d ({name} val)"
    assert same_images([train]) == []
    assert same_images([train, val]) == [between, within]
    assert len(same_images([train, train])) == 2  # one file in two splits


def test_classes_that_one_split_lacks(tmp_path):
    train, val = splits_of(tmp_path)
    assert missing_classes(train, val) == [f"{val.name} has no object of the classes dog"]
    text = repeats(train, val)
    assert text.startswith("1 boxes lie on each other:\n  train/a: cat and dog")
    assert "2 images have the same content as another:" in text and text.endswith("classes dog")
    assert repeats(val, None).startswith("1 images have the same content")


def test_a_long_list_is_cut(tmp_path):
    rows = "".join(f"a.jpg,{x},1,{x + 3},9,cat\n" * 2 for x in range(1, 31, 4))
    labelled.images(tmp_path / "images", "ab")
    labelled.write(tmp_path, "all.csv", rows + rows.replace("a.jpg", "b.jpg"))
    text = repeats(open_source(tmp_path).collect("all", Choice())[0], None)
    assert f"... and {16 - MOST} more" in text
