"""Folders that are not as VOC's are: one line says what they are and what to do."""

import json

import pytest
from PIL import Image

from frcnn.config.schema import DataConfig
from frcnn.data import build, voc
from frcnn.errors import DataError


def write(root, names):
    """Write files; images of 40x30, annotations that are right, other files with what is given."""
    for name, content in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".jpg":
            Image.new("RGB", (40, 30)).save(path)
        else:
            path.write_text(content)
    return root


VOC = {
    "Annotations/a.xml": "<annotation/>",
    "JPEGImages/a.jpg": "",
    "ImageSets/Main/train.txt": "a",
}


def without(part, **more):
    return {name: text for name, text in VOC.items() if not name.startswith(part)} | more


COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})
FOLDERS = {
    "other name of the images": (
        without("JPEG", **{"images/a.jpg": "", "notes/a.txt": ""}),
        "there is no folder JPEGImages in {root}; images lie in images/: rename it to JPEGImages",
    ),
    "no images": (without("JPEG"), "there is no folder JPEGImages in {root}; the images belong there"),
    "no XML": (
        without("Ann", **{"Annotations/a.json": "{}"}),
        "{root}/Annotations holds no .xml file but a.json: only VOC's XML annotations are read",
    ),
    "a typing error": (
        without("ImageSets", **{"ImageSets/Main/trian.txt": "a", "ImageSets/Main/cat_trian.txt": "a 1"}),
        "train.txt does not exist; the splits there are: trian, did you mean 'trian'?",
    ),
    "YOLO": (
        {"data.yaml": "train: images/train\nnames:\n  0: cat\n", "images/train/a.jpg": ""},
        "none of the 1 images of {root}/data.yaml has a label file",
    ),
    "COCO": ({"annotations/instances_train.json": COCO, "train/a.jpg": ""}, "lists no image"),
    "side by side": (
        {"train/a.xml": "<annotation><object/></annotation>", "train/a.jpg": ""},
        "{root}/train/a.xml box 1: has no <name>",
    ),
    "something else": (
        {"a.json": "[1, 2]", "conf.yaml": "names of nobody"},
        "no VOC2007 in {root}: fetch it with `frcnn download voc2007 --data-dir {root}`, or",
    ),
    "nothing": ({}, "no VOC2007 in {root}, which is no folder: fetch it"),
    "below": ({f"pets/{name}": text for name, text in VOC.items()}, "such as --data-dir {root}/pets"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_is_no_voc_folder_is_one_line(tmp_path, case):
    names, says = FOLDERS[case]
    root = write(tmp_path / "root", names)
    for policy in ("error", "skip"):
        config = DataConfig(dir=str(root), train_split="train", val_split="train", on_bad_data=policy)
        with pytest.raises(DataError) as caught:
            build.load(config)
        message = str(caught.value)
        assert says.format(root=root) in message and "\n" not in message and len(message) < 500


def test_a_voc_folder_may_have_the_files_of_others_beside_it(tmp_path):
    root = write(tmp_path, VOC | {"data.yaml": "names: [cat]", "labels/a.txt": "", "classes.txt": "cat"})
    assert len(voc.read(root, "train")) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_split_files_of_powershell_are_read(tmp_path, encoding):
    write(tmp_path, VOC)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\r\n", encoding=encoding, newline="")
    assert [sample.name for sample in voc.read(tmp_path, "train").samples] == ["a"]
