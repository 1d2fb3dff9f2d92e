"""The readers of all formats: the same boxes and classes, habits of exporters, and every fault named."""

import os
import posixpath
from pathlib import Path

import labelled
import numpy as np
import pytest
from labelled import CLASSES, OBJECTS, WRITERS, coco_content, images, write
from PIL import Image

from frcnn.data import formats
from frcnn.data.file_tree import FileTree
from frcnn.data.labels import Choice
from frcnn.errors import ConfigError, DataError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def read(root, split="all", **choice):
    """Return the data set of a folder in which nothing is wrong."""
    dataset, faults = formats.collect(root, split, Choice(**choice))
    assert [str(fault) for fault in faults] == []
    return dataset


def faults_of(root, split="all", **choice):
    """Return the faults of a folder, without the folder in front."""
    _, faults = formats.collect(root, split, Choice(**choice))
    return [str(fault).replace(f"{root}/", "") for fault in faults]


def boxes_of(dataset):
    """Return {image: [(class, box)]}, the box in whole pixels."""
    return {
        posixpath.basename(sample.name): [
            (dataset.classes[label], tuple(map(int, box)))
            for label, box in zip(sample.labels, np.rint(sample.boxes))
        ]
        for sample in dataset.samples
    }


# One data set in every format.


@pytest.mark.parametrize("name", WRITERS)
def test_each_format_is_found_and_gives_the_same_boxes(tmp_path, name):
    WRITERS[name](tmp_path)
    found = formats.find(tmp_path)
    assert found.name == name and found.splits() == ("train", "val")
    dataset = read(tmp_path)
    assert boxes_of(dataset) == OBJECTS and dataset.classes == CLASSES
    assert {(sample.width, sample.height) for sample in dataset.samples} == {(40, 30)}


def test_openimages_gives_the_same_boxes_and_readable_classes(tmp_path):
    labelled.openimages(tmp_path)
    assert boxes_of(read(tmp_path)) == {name: OBJECTS[name] for name in "ab"}


@pytest.mark.parametrize("name", WRITERS)
def test_an_image_that_is_missing_or_no_image_is_a_fault(tmp_path, name):
    WRITERS[name](tmp_path)
    (path,) = tmp_path.rglob("b.jpg")
    path.write_text("no image")
    (fault,) = faults_of(tmp_path)
    assert "b.jpg: is not an image" in fault
    path.unlink()
    if name != "yolo":  # there, an image exists by being in the folder
        (fault,) = faults_of(tmp_path)
        assert "there is no image 'b" in fault


@pytest.mark.parametrize("name", WRITERS)
def test_labels_that_are_no_labels_end_in_one_line(tmp_path, name):
    WRITERS[name](tmp_path)
    source = formats.find(tmp_path).source
    (tmp_path / source).write_bytes(b"\x00\xff{[<" * 100)
    try:
        dataset, faults = formats.collect(tmp_path, "all", name=name)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert faults or dataset.notes


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_without_splits_is_divided_by_the_names_alone(tmp_path, name):
    WRITERS[name](tmp_path)
    train, val = read(tmp_path, "train", classes=CLASSES), read(tmp_path, "val", classes=CLASSES)
    assert len(train) == 2 and len(val) == 1
    assert {sample.path for sample in train.samples}.isdisjoint(sample.path for sample in val.samples)
    assert any(
        "1 of 3 images of all, chosen by the hash of their names, are val" in n for n in val.notes
    )
    with pytest.raises(
        DataError, match="has no split test; the splits are: none; train and val are made"
    ):
        read(tmp_path, "test")


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(
        ConfigError, match="data.format is 'coc', did you mean 'coco'.; expected one of auto"
    ):
        formats.find(tmp_path, "coc")
    with pytest.raises(DataError, match="holds no labels in the format coco"):
        formats.find(tmp_path, "coco")
    assert formats.find(tmp_path) is None


# Classes.


def test_other_classes_are_faults_or_dropped_and_counted(tmp_path):
    labelled.coco(tmp_path)
    assert faults_of(tmp_path, classes=("dogs",)) == [
        "annotations.json: annotations[0]: unknown class 'cat'; expected one of dogs",
        "annotations.json: annotations[1]: unknown class 'dog', did you mean 'dogs'?",
        "annotations.json: annotations[2]: unknown class 'dog', did you mean 'dogs'?",
    ]
    dataset = read(tmp_path, classes=("dog",), only=True)
    assert dataset.classes == ("dog",) and dataset.dropped == (("cat", 1),)
    assert dataset.summary().endswith("; dropped objects of other classes: cat 1")


def test_classes_are_renamed_and_merged(tmp_path):
    labelled.coco(tmp_path)
    dataset = read(tmp_path, rename={"cat": "animal", "dog": "animal"})
    assert dataset.classes == ("animal",) and len(dataset.samples[0].labels) == 2
    with pytest.raises(ConfigError, match="named twice"):
        Choice(classes=("a b", "a  b"))


def test_classes_that_look_alike_are_pointed_out(tmp_path):
    labelled.csv(tmp_path)
    path = tmp_path / "annotations.csv"
    path.write_text(path.read_text().replace("dog", "Cat", 1))
    assert read(tmp_path).notes == (
        "the classes 'Cat' and 'cat' look alike: data.rename makes them one",
    )


# Boxes.


def one_box(root, *corners, size=True):
    """Write a CSV with one box."""
    images(root / "images", "a")
    write(root, "annotations.csv", f"a.jpg,{','.join(map(str, corners))},cat\n")


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        (
            (5, 5, 4, 9),
            "line 1: is inverted or empty, or less than 1 pixel thin: x1 5, y1 5, x2 4, y2 9",
        ),
        ((5, 5, 5.5, 9), "is inverted or empty, or less than 1 pixel thin"),
        ((5, 5, 43, 9), "reaches out of the 40x30 image"),
        ((-9, 5, -2, 9), "reaches out of the 40x30 image"),
        (("1e999", 5, 3, 9), "has the corners"),
        ((5, "nan", 30, 9), "has the corners"),
        (("left", 5, 30, 9), "has the corners"),
    ],
)
def test_a_box_that_cannot_be_is_a_fault(tmp_path, corners, words):
    one_box(tmp_path, 1, 1, 9, 9)
    path = tmp_path / "annotations.csv"
    path.write_text(f"{path.read_text()}a.jpg,{','.join(map(str, corners))},cat\n")
    (fault,) = faults_of(tmp_path)
    assert words.replace("line 1", "annotations.csv line 2") in fault


def test_a_pixel_outside_is_rounding_and_is_clipped(tmp_path):
    one_box(tmp_path, -1, 3, 41, 31)
    dataset = read(tmp_path)
    assert boxes_of(dataset) == {"a": [("cat", (0, 3, 40, 30))]} and not dataset.clipped


def test_clip_takes_a_box_that_loses_a_quarter_and_lists_it(tmp_path):
    one_box(tmp_path, 0, 0, 50, 20)
    dataset = read(tmp_path, clip=True)
    assert boxes_of(dataset) == {"a": [("cat", (0, 0, 40, 20))]}
    path = tmp_path / "annotations.csv"
    assert dataset.clipped == (
        ("a", f"{path} line 1: clipped to the 40x30 image: x1 0, y1 0, x2 50, y2 20"),
    )
    assert dataset.summary().endswith("; 1 boxes were clipped to their images")
    one_box(tmp_path, 0, 0, 60, 20)
    assert "reaches out" in faults_of(tmp_path, clip=True)[0]


def test_an_image_stored_on_its_side_has_its_boxes_turned(tmp_path):
    labelled.coco(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown, the image is 30 wide and 40 high
    Image.new("RGB", (40, 30)).save(tmp_path / "images" / "b.jpg", exif=exif)
    sample = read(tmp_path).samples[1]
    assert (sample.width, sample.height) == (30, 40)
    np.testing.assert_array_equal(sample.boxes, [[30 - 9, 0, 30, 12]])


def test_an_image_of_another_size_than_declared_is_a_fault(tmp_path):
    labelled.coco(tmp_path)
    Image.new("RGB", (41, 30)).save(tmp_path / "images" / "b.jpg")
    assert faults_of(tmp_path) == ["images/b.jpg: has 41x30 pixels, but its label file declares 40x30"]


def test_an_image_that_is_listed_twice_is_a_fault(tmp_path):
    content = coco_content()
    content["images"].append({"id": 1, "file_name": "images/a.jpg"})
    images(tmp_path / "images")
    write(tmp_path, "a.json", content)
    assert faults_of(tmp_path) == [
        "images/a.jpg: is also images/a",
        "images/a.jpg: is also a",
    ]


# COCO.


def test_coco_crowds_are_difficult_and_keep_their_area(tmp_path):
    content = coco_content()
    content["annotations"][0] |= {"iscrowd": 1, "area": 12.5}
    content["annotations"][1] |= {"ignore": 1}
    images(tmp_path)
    write(tmp_path, "a.json", content)
    sample = read(tmp_path).samples[0]
    assert sample.crowd.tolist() == [True, False] and sample.difficult.tolist() == [True, True]
    assert sample.area.tolist() == [12.5, 600.0]


def test_coco_of_many_exporters(tmp_path):
    """Ids as text and floats, no sizes, a category by its supercategory, a path of another computer."""
    content = coco_content()
    for image in content["images"]:
        image |= {"id": float(image["id"]), "file_name": f"C:\\work\\photos\\{image['file_name']}"}
        del image["width"], image["height"]
    for annotation in content["annotations"]:
        annotation |= {
            "image_id": str(annotation["image_id"]),
            "category_id": annotation["category_id"] * 1.0,
        }
        del annotation["area"], annotation["iscrowd"]
    content["categories"] = [
        {"id": 0, "supercategory": "none", "name": "animals"},
        {"id": 3, "supercategory": "cat"},
        {"id": 90, "name": "dog", "supercategory": "animals"},
    ]
    images(tmp_path / "some" / "where")
    write(tmp_path, "annotations/instances_default.json", content)
    dataset = read(tmp_path)
    assert boxes_of(dataset) == OBJECTS and dataset.classes == CLASSES
    assert dataset.samples[0].area is None


def test_coco_polygons_without_a_bbox_become_boxes(tmp_path):
    content = coco_content()
    for annotation in content["annotations"]:
        x, y, width, height = annotation.pop("bbox")
        annotation["segmentation"] = [[x, y, x + width, y], [x + width, y + height, x, y + height]]
    images(tmp_path)
    write(tmp_path, "a.json", content)
    assert boxes_of(read(tmp_path)) == OBJECTS


def test_coco_faults_name_their_json_path(tmp_path):
    content = coco_content()
    content["annotations"][0] |= {"bbox": [1, 2, "x"]}
    content["annotations"][1] |= {"category_id": 4}
    content["annotations"][2] |= {"bbox": [1, 2, -3, 4]}
    content["annotations"].append({"image_id": 99})
    content["images"] += [{"id": 7, "file_name": "c.jpg"}, {"file_name": "c.jpg"}, 3]
    images(tmp_path)
    write(tmp_path, "a.json", content)
    assert faults_of(tmp_path) == [
        "a.json: images[3]: has the id 7 of a",
        "a.json: images[4]: is {'file_name': 'c.jpg'}; expected id and file_name",
        "a.json: images[5]: is 3; expected id and file_name",
        "a.json: annotations[3]: belongs to no image of the file: {'image_id': 99}",
        "a.json: annotations[0]: has the bbox [1, 2, 'x']; expected [x, y, width, height]",
        "a.json: annotations[1]: has the category_id 4, which is no category's",
        "a.json: annotations[2]: has a bbox of negative size: [1, 2, -3, 4]",
    ]


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (
            ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
            ("train2017", "val2017"),
        ),
        (("train/_annotations.coco.json", "valid/_annotations.coco.json"), ("train", "valid")),
        (("train.json", "test.json"), ("train", "test")),
        (("annotations/train.json", "annotations/captions_val.json"), ("train", "val")),
    ],
)
def test_coco_splits(tmp_path, files, splits):
    for file in files:
        write(tmp_path, file, coco_content())
    for split in splits:  # the images have the same names in both
        images(tmp_path / split)
    assert formats.find(tmp_path).splits() == splits
    if "captions" not in files[1]:
        for split in splits:
            paths = [Path(sample.path).parent.name for sample in read(tmp_path, split).samples]
            assert paths == [split] * 3


def test_a_missing_image_is_not_looked_for_in_another_split(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, f"{split}.json", coco_content())
        images(tmp_path / split)
    (tmp_path / "val" / "b.jpg").unlink()
    (fault,) = faults_of(tmp_path, "val")
    assert fault == f"val.json: images[1]: there is no image 'b.jpg' in {tmp_path}"


# YOLO.


@pytest.mark.parametrize(
    "text",
    [
        "path: ../datasets/pets\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n",
        "train: ../images/train\nval: [images/val]\nnc: 2\nnames: {0: cat, 1: dog}\n",
        "train: images/train/*.jpg\nval: val.txt\nnames:\n  - cat\n  - dog\n",
    ],
)
def test_yolo_data_yaml(tmp_path, text):
    for split in ("train", "val"):
        images(tmp_path / "images" / split)
        for name, objects in OBJECTS.items():
            lines = "\n".join(labelled.yolo_line(*one) for one in objects)
            write(tmp_path, f"labels/{split}/{name}.txt", lines)
    write(tmp_path, "val.txt", "\n".join(f"./images/val/{name}.jpg" for name in OBJECTS))
    write(tmp_path, "data.yaml", text)
    for split in ("train", "val"):
        dataset = read(tmp_path, split)
        assert boxes_of(dataset) == OBJECTS and dataset.classes == CLASSES
        assert all(f"/{split}/" in sample.path for sample in dataset.samples)


def test_yolo_polygons_become_boxes_and_background_is_counted(tmp_path):
    labelled.yolo(tmp_path)
    (tmp_path / "labels" / "c.txt").unlink()
    write(tmp_path, "labels/b.txt", "1 0 0 0.3 0.1 0.1 0.3")
    dataset = read(tmp_path)
    assert boxes_of(dataset)["b"] == [("dog", (0, 0, 12, 9))]
    assert dataset.notes == ("1 of 3 images have no label file and so no objects",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5", "has 2 numbers after the class, expected 4"),
        ("7 0.5 0.5 0.1 0.1", "has the class 7, but there are names for 0 to 1"),
        ("-1 0.5 0.5 0.1 0.1", "begins with '-1', expected the number of a class"),
        ("inf 0.5 0.5 0.1 0.1", "begins with 'inf', expected the number of a class"),
        ("0 0.5 0.5 x 0.1", "holds text where numbers are expected"),
        ("0 0.5 0.5 -0.1 0.1", "has a negative size"),
        ("0 20 15 10 10", "is not in shares of the image, 0 to 1"),
        ("0 0.5 0.5 0 0.1", "is inverted or empty"),
        ("0 0.95 0.5 0.3 0.1", "reaches out of the 40x30 image"),
    ],
)
def test_yolo_faults_name_file_and_line(tmp_path, line, words):
    labelled.yolo(tmp_path)
    write(tmp_path, "labels/b.txt", f"0 0.5 0.5 0.2 0.2\n\n{line}\n")
    (fault,) = faults_of(tmp_path)
    assert fault.startswith("labels/b.txt line 3: ") and words in fault


def test_yolo_without_any_label_file_says_where_they_belong(tmp_path):
    images(tmp_path / "train" / "images")
    write(tmp_path, "data.yaml", "train: train/images\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match="none of the 3 images of .*data.yaml has a label file"):
        read(tmp_path, "train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: nowhere\nnames: [a]\n", "there is no folder 'nowhere' with images"),
        ("train: {a: 1}\nnames: [a]\n", "train is .* expected a folder"),
        ("train: images\nnames: a\n", "names is a, expected a list"),
        ("train: images\nnames: {0: a, 2: b}\n", "names has the numbers"),
        ("train: images\nnames: {x: a}\n", "the keys of names are no numbers"),
        ("train: &a [x]\nnames: [*a, *a]\n", "has aliases"),
        ("train: images\nnames: [a\n", "cannot be read as YAML"),
        ("train: images\nnames: !!python/object/apply:os.getcwd []\n", "cannot be read as YAML"),
    ],
)
def test_yolo_yaml_faults(tmp_path, text, words):
    labelled.yolo(tmp_path)
    write(tmp_path, "data.yaml", text)
    with pytest.raises(DataError, match=words):
        read(tmp_path, "train")


# CSV.


def test_csv_header_in_any_order_and_with_shares(tmp_path):
    images(tmp_path / "images")
    rows = ["class;filename;xmax;ymax;xmin;ymin", "cat;a.jpg;0,55;0,6;0,05;0,1"]
    write(tmp_path, "labels.csv", "\n".join(rows))
    assert boxes_of(read(tmp_path)) == {"a": [("cat", (2, 3, 22, 18))]}


def test_csv_of_tensorflow_with_class_file(tmp_path):
    images(tmp_path / "images")
    rows = ["filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,40,30,cat,2,3,22,18"]
    write(tmp_path, "train_labels.csv", "\n".join(rows))
    write(tmp_path, "test_labels.csv", "\n".join(rows))
    write(tmp_path, "classes.csv", "dog,0\ncat,1\n")
    dataset = read(tmp_path, "train")
    assert dataset.classes == ("dog", "cat") and formats.find(tmp_path).splits() == ("train", "test")


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_csv_with_the_line_ends_of_any_system(tmp_path, end):
    images(tmp_path)
    write(tmp_path, "labels.csv", "")
    rows = ["filename;class;xmin;ymin;xmax;ymax", "a.jpg;cat;2;3;22;18", "b.jpg;dog;0;0;12;9"]
    (tmp_path / "labels.csv").write_bytes(("\ufeff" + end.join(rows) + end).encode())
    assert boxes_of(read(tmp_path)) == {
        "a": [("cat", (2, 3, 22, 18))],
        "b": [("dog", (0, 0, 12, 9))],
    }


def test_csv_faults_name_their_row(tmp_path):
    labelled.csv(tmp_path)
    with (tmp_path / "annotations.csv").open("a") as file:
        file.write('\nb.jpg,1,2\n"b.jpg",1,2,9,9,\n')
    assert faults_of(tmp_path) == [
        "annotations.csv line 5: has 3 columns, expected 6",
        "annotations.csv line 6: has no class name",
    ]


# CVAT and LabelMe.


def test_cvat_shapes_become_boxes_and_what_has_none_is_a_fault(tmp_path):
    extra = (
        '<image name="d.jpg" width="40" height="30">'
        '<polygon label="cat" points="1,5;4,2;3,9"/>'
        '<mask label="dog" left="3" top="4" width="5" height="6"/>'
        '<box label="cat" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90.0">'
        '<attribute name="difficult">true</attribute></box>{}</image>'
    )
    images(tmp_path / "images", "d")
    labelled.cvat(tmp_path, extra.format(""))
    sample = read(tmp_path).samples[-1]
    np.testing.assert_allclose(sample.boxes, [[1, 2, 4, 9], [3, 4, 8, 10], [13, 7, 17, 17]], atol=1e-5)
    assert sample.difficult.tolist() == [False, False, True]
    labelled.cvat(tmp_path, extra.format('<polyline label="cat" points="1,1;2,2"/>'))
    assert faults_of(tmp_path) == [
        "annotations.xml image 'd.jpg' box 4: is a <polyline>, which is not read: expected <box>, "
        "<polygon> or <mask>"
    ]


def test_cvat_of_a_video_is_refused(tmp_path):
    labelled.cvat(tmp_path, "<track></track>")
    with pytest.raises(DataError, match="labels a video"):
        read(tmp_path)


def test_labelme_shapes(tmp_path):
    shapes = [
        {"label": "cat", "points": [[1, 5], [4, 2], [3, 9]]},
        {
            "label": "dog",
            "points": [[10, 10], [10, 14]],
            "shape_type": "circle",
            "flags": {"difficult": True},
        },
        {"label": "dog", "points": [[10, 10], [10, 14]], "shape_type": "line"},
        {"label": None, "points": [[1, 1], [10, 14]], "shape_type": "rectangle"},
    ]
    images(tmp_path, "a")
    write(tmp_path, "a.json", {"imagePath": "..\\old.jpg", "shapes": shapes[:2]})
    sample = read(tmp_path).samples[0]
    np.testing.assert_array_equal(sample.boxes, [[1, 2, 4, 9], [6, 6, 14, 14]])
    assert sample.difficult.tolist() == [False, True]
    write(tmp_path, "a.json", {"imagePath": "a.jpg", "shapes": shapes})
    first, second = faults_of(tmp_path)
    assert first.startswith("a.json: shapes[2]: is a line, which has no box")
    assert second.startswith("a.json: shapes[3]: has the label None")


# Files.


def test_no_name_leads_out_of_the_folder(tmp_path):
    images(tmp_path, "abc")
    root = tmp_path / "set"
    images(root / "images", "bc")
    content = coco_content()
    content["images"][0]["file_name"] = f"{tmp_path}/a.jpg"
    write(root, "a.json", content)
    assert len(faults_of(root)) == 1
    content["images"][0]["file_name"] = "../a.jpg"
    write(root, "a.json", content)
    assert len(faults_of(root)) == 1


def test_a_link_to_a_folder_above_ends(tmp_path):
    images(tmp_path / "images")
    (tmp_path / "images" / "again").symlink_to(tmp_path)
    tree = FileTree(tmp_path)
    assert tree.images == [f"images/{name}.jpg" for name in OBJECTS]


def test_labels_may_be_a_pipe(tmp_path):
    images(tmp_path)
    os.mkfifo(tmp_path / "a.json")
    os.mkfifo(tmp_path / "a.txt")
    assert formats.find(tmp_path) is None


# Real data.


def linked(root, *sources):
    """Make a data set of the shared images and the label files of one format."""
    if not (SHARED / "formats").is_dir():
        pytest.skip(f"the shared data are not in {SHARED}")
    (root / "images").symlink_to(SHARED / "formats" / "images")
    for source in sources:
        folder = SHARED / "formats" / source
        for path in sorted(folder.iterdir()) if folder.is_dir() else [folder]:
            (root / path.name).symlink_to(path)
    return root


def test_all_formats_of_the_same_images_agree(tmp_path):
    sources = {
        "coco1": "coco/instances_v1.json",
        "coco2": "coco/instances_v2.json",
        "yolo": "yolo_darknet",
        "csv": "openimages",
        "cvat": "cvat",
        "voc-flat": "voc_xml",
    }
    found = {}
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        root = linked(tmp_path / name, source)
        assert formats.find(root).name == name.rstrip("12")
        dataset = read(root, "train" if name == "yolo" else "all", classes=None)
        if name == "yolo":  # its list has no split for validation
            val = read(root, "val")
            dataset = type(dataset)(dataset.name, dataset.classes, dataset.samples + val.samples)
        found[name] = {
            posixpath.basename(sample.name): sorted(
                (dataset.classes[label], *box)
                for label, box in zip(sample.labels, sample.boxes.tolist())
            )
            for sample in dataset.samples
        }
    expected = found["coco1"]
    assert len(expected) == 100 and sum(map(len, expected.values())) == 273
    for name, own in found.items():
        # VOC's corners are counted from 1, which the other files' exporters did not heed.
        tolerance = 1.0 if name == "voc-flat" else 0.002
        assert own.keys() == expected.keys()
        for image, objects in own.items():
            left, right = sorted(objects), sorted(expected[image])
            assert [one[0] for one in left] == [one[0] for one in right]
            for one in left:  # in any order
                distances = [np.abs(np.subtract(one[1:], o[1:])).max() for o in right if o[0] == one[0]]
                assert min(distances) <= tolerance


def test_labelme_agrees_on_its_five_images(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    labelme = boxes_of(read(linked(tmp_path / "a", "labelme")))
    other = boxes_of(read(linked(tmp_path / "b", "coco/instances_v2.json")))
    assert len(labelme) == 5
    assert all(sorted(labelme[name]) == sorted(other[name]) for name in labelme)
