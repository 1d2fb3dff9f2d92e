"""The VOC reader: corners worked by hand, both layouts, and every fault named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn.data import voc, voc_layout
from frcnn.data.labels import ADD_CLASS
from frcnn.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


def an_object(name, *corners, difficult="<difficult>0</difficult>"):
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name>{difficult}<bndbox>{box}</bndbox></object>"


def annotation(*objects, size=(40, 30), filename="anything.jpg"):
    width, height = size
    return (
        f"<annotation><filename>{filename}</filename>"
        f"<size><width>{width}</width><height>{height}</height></size>"
        f"{''.join(objects)}</annotation>"
    )


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a VOC folder of 40x30 images from {identifier: XML}."""

    def write(annotations, split=None, at="pets", image="{}.jpg"):
        root = tmp_path / at
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / part).mkdir(parents=True, exist_ok=True)
        for identifier, xml in annotations.items():
            (root / "Annotations" / f"{identifier}.xml").write_text(xml)
            if image:
                Image.new("RGB", (40, 30)).save(root / "JPEGImages" / image.format(identifier))
        listed = "\n".join(annotations) if split is None else split
        (root / "ImageSets" / "Main" / "train.txt").write_text(listed)
        return root

    return write


def one(folder, xml, **arguments):
    """Read a data set of one image, ``a``."""
    (sample,) = voc.read(folder({"a": xml}), "train", **arguments).samples
    return sample


def faults(root, **arguments):
    """Return the faults that the error of reading a folder lists, without what to do about them."""
    with pytest.raises(DataError) as caught:
        voc.read(root, "train", **arguments)
    first, *lines = str(caught.value).splitlines()
    if not lines:  # a single fault stands in one line with what to do about it
        only = first.removesuffix("; mend it, or skip the image with --on-bad-data skip")
        return [only.split(": ", 1)[1].removesuffix(f"; {ADD_CLASS}")]
    return [line.strip() for line in lines if line.startswith("  ")]


# What is right.


def test_corners_become_half_open_pixels_counted_from_zero(folder):
    sample = one(folder, annotation(an_object("cat", 1, 1, 10, 5), an_object("dog", 3, 4, 40, 30)))
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 10, 5], [2, 3, 40, 30]])
    assert sample.boxes.dtype == np.float32 and sample.labels.dtype == np.int32
    assert (sample.name, sample.width, sample.height) == ("a", 40, 30)


def test_a_box_that_sticks_out_by_one_pixel_is_clipped(folder):
    sample = one(folder, annotation(an_object("cat", 0, 0, 41, 31)))
    np.testing.assert_array_equal(sample.boxes, [[0, 0, 40, 30]])


def test_classes_are_the_sorted_names_found(folder):
    root = folder(
        {
            "a": annotation(an_object("dog", 1, 1, 9, 9), an_object("cat", 1, 1, 9, 9)),
            "b": annotation(an_object("bee", 1, 1, 9, 9)),
        }
    )
    dataset = voc.read(root, "train")
    assert dataset.name == "pets train"
    assert dataset.classes == ("bee", "cat", "dog")
    assert [sample.labels.tolist() for sample in dataset.samples] == [[2, 1], [0]]


def test_given_classes_keep_their_order(folder):
    sample = one(folder, annotation(an_object("cat", 1, 1, 9, 9)), classes=["dog", "cat"])
    assert sample.labels.tolist() == [1]


def test_an_image_without_objects_is_part_of_the_data_set(folder):
    sample = one(folder, annotation(), classes=["cat"])
    assert sample.boxes.shape == (0, 4) and sample.labels.shape == (0,)


def test_difficult_is_per_object_and_may_be_missing(folder):
    flags = ("<difficult>1</difficult>", "<difficult>0</difficult>", "")
    objects = [an_object("cat", 1, 1, 9, 9, difficult=flag) for flag in flags]
    assert one(folder, annotation(*objects)).difficult.tolist() == [True, False, False]


def test_parts_of_an_object_are_no_objects(folder):
    """VOC's own layout of persons: a head and hands, each with a box."""
    parts = "".join(f"<part><name>{name}</name>{BOX}</part>" for name in ("head", "hand", "hand"))
    person = an_object("person", 1, 1, 20, 20).replace("</object>", f"{parts}</object>")
    np.testing.assert_array_equal(one(folder, annotation(person)).boxes, [[0, 0, 20, 20]])


def test_the_smallest_box_in_pixels_is_no_share(folder):
    np.testing.assert_array_equal(
        one(folder, annotation(an_object("cat", 1, 1, 2, 2))).boxes, [[0, 0, 2, 2]]
    )


def test_a_class_name_is_one_line_whatever_blanks_it_has(folder):
    names = ("traffic light", "traffic\n    light", "\ttraffic\u2028light ", "traffic\u00a0light")
    xml = annotation(*(an_object(name, 1, 1, 9, 9) for name in names))
    dataset = voc.read(folder({"a": xml}), "train")
    assert dataset.classes == ("traffic light",) and dataset.samples[0].labels.tolist() == [0] * 4


def test_a_slash_in_a_class_name_is_a_letter(folder):
    assert voc.read(folder({"a": annotation(an_object("cup/mug", 1, 1, 9, 9))}), "train").classes == (
        "cup/mug",
    )


def test_given_classes_may_have_other_blanks_than_the_annotations(folder):
    root = folder({"a": annotation(an_object("traffic light", 1, 1, 9, 9))})
    assert voc.read(root, "train", classes=["traffic \n light"]).classes == ("traffic light",)
    with pytest.raises(ConfigError, match="the class 'traffic light' is named twice"):
        voc.read(root, "train", classes=["traffic light", "traffic  light"])


def test_a_class_name_with_a_character_that_nobody_sees_is_a_fault(folder):
    (fault,) = faults(folder({"a": annotation(an_object("cat\u202e", 1, 1, 9, 9))}))
    assert "a.xml box 1: the class name 'cat\\u202e' has the invisible character U+202E" in fault


def test_an_error_does_not_repeat_ninety_names(folder):
    root = folder({"a": annotation(CAT, an_object("cow", 1, 1, 9, 9))})
    (fault,) = faults(root, classes=["cat", *(f"thing {n}" for n in range(90))])
    assert fault.endswith("unknown class 'cow'; expected one of cat, thing 0, thing 1, ... (91 in all)")


@pytest.mark.parametrize("size", [(0, 0), ("", "")])
def test_a_size_that_was_not_declared_is_no_fault(folder, size):
    assert one(folder, annotation(size=size)).width == 40


@pytest.mark.parametrize("image", ["{}.JPG", "{}.png", "{}.jpeg"])
def test_the_image_is_found_by_identifier_whatever_its_suffix(folder, image):
    root = folder({"a": annotation(filename="/etc/hosts")}, image=image)
    (sample,) = voc.read(root, "train").samples
    assert Path(sample.path) == root / "JPEGImages" / image.format("a")


@pytest.mark.parametrize("filename", ["photo 7.jpg", "C:\\labels\\photo 7.jpg", "../../photo 7.JPG"])
def test_else_the_image_is_found_by_the_last_part_of_filename(folder, filename):
    root = folder({"a": annotation(filename=filename)}, image="photo 7.jpg")
    (sample,) = voc.read(root, "train").samples
    assert Path(sample.path) == root / "JPEGImages" / "photo 7.jpg"


def test_split_files_may_have_blank_and_crlf_lines_and_a_second_column(folder):
    split = "\ufeffa  1\r\n\r\nb -1\r\nc 1  0\n"
    dataset = voc.read(folder({name: annotation() for name in ("a", "b", "c 1")}, split), "train")
    assert [sample.name for sample in dataset.samples] == ["a", "b", "c 1"]


# The devkit.


@pytest.fixture
def devkit(folder, tmp_path):
    """Both years, with one image of the same identifier each."""
    for year, name in (("2007", "cat"), ("2012", "dog")):
        xml = annotation(an_object(name, 1, 1, 9, 9))
        root = folder({"000001": xml}, at=f"VOCdevkit/VOC{year}")
    (root.parent / "VOC2007/ImageSets/Main/test.txt").write_text("000001")
    return tmp_path


@pytest.mark.parametrize("below", ["", "VOCdevkit"])
def test_a_devkit_has_the_official_classes(devkit, below):
    dataset = voc.read(devkit / below, "train", year="2012")
    assert dataset.name == "voc2012 train"
    assert dataset.classes == voc_layout.VOC_CLASSES and len(dataset.classes) == 20
    assert dataset.classes[dataset.samples[0].labels[0]] == "dog"


def test_without_a_year_a_devkit_is_2007(devkit):
    assert voc.read(devkit, "train").name == "voc2007 train"


def test_07_and_12_are_read_one_after_the_other_under_distinct_names(devkit):
    dataset = voc.read(devkit, "train", year="07+12")
    assert [sample.name for sample in dataset.samples] == ["VOC2007/000001", "VOC2012/000001"]


def test_the_test_split_of_07_and_12_is_that_of_2007(devkit):
    dataset = voc.read(devkit, "test", year="07+12")
    assert dataset.name == "voc2007 test" and len(dataset) == 1


def test_own_classes_in_a_devkits_layout_are_told_the_ways_out(folder):
    objects = [an_object(name, 1, 1, 9, 9) for name in ("raccoon", "cat", "traffic light")]
    root = folder({"a": annotation(*objects)}, at="VOCdevkit/VOC2007")
    with pytest.raises(DataError) as caught:
        voc.read(root.parents[1], "train")
    *_, advice = str(caught.value).splitlines()
    assert "--set 'data.classes=cat,raccoon,traffic light'" in advice
    assert f"--data-dir {root}" in advice and "--year" not in advice
    assert "unknown class 'raccoon'; expected one of aeroplane, bicycle, bird, ... (20 in all)" in str(
        caught.value
    )
    # Both of them are ways out.
    classes = ("cat", "raccoon", "traffic light")
    assert voc.read(root.parents[1], "train", classes=classes).samples[0].labels.tolist() == [1, 0, 2]
    assert voc.read(root, "train").classes == classes
    with pytest.raises(DataError, match=f"--data-dir {root} without --year"):
        voc.read(root.parents[1], "train", year="2007")


def test_classes_that_no_option_can_name_are_not_suggested(folder):
    root = folder({"a": annotation(an_object("cup, large", 1, 1, 9, 9))}, at="VOCdevkit/VOC2007")
    with pytest.raises(DataError, match="data.classes=NAME,NAME,..."):
        voc.read(root.parents[1], "train")


# What is wrong.

CAT = an_object("cat", 1, 1, 9, 9)
BOX = CAT[CAT.index("<bndbox>") : CAT.index("</object>")]
BAD_BOXES = {
    "inverted": ((9, 1, 5, 9), "inverted or at most one pixel thin: xmin 9, ymin 1, xmax 5, ymax 9"),
    "thin": ((9, 1, 9, 9), "inverted or at most one pixel thin"),
    "outside": ((50, 1, 60, 9), "reaches out of the 40x30 image"),
    "out to the left": ((-1, 1, 9, 9), "reaches out of the 40x30 image"),
    "out below": ((1, 1, 9, 32), "reaches out of the 40x30 image"),
    "just past the edge": ((40.5, 1, 41, 9), "reaches out of the 40x30 image"),
    "NaN": ((1, "nan", 9, 9), "<ymin> is 'nan', not a number"),
    "infinite": ((1, 1, "1e999", 9), "<xmax> is '1e999', not a number"),
    "words": ((1, 1, 9, "nine"), "<ymax> is 'nine', not a number"),
    "empty": ((1, 1, 9, ""), "<ymax> is '', not a number"),
    "shares": (
        (0.1, 0.2, 0.6, 0.9),
        "corners look relative to the image's size, VOC has pixels: xmin 0.1",
    ),
    "shares to the corner": ((0.1, 0.2, 1.0, 1.0), "corners look relative to the image's size"),
    "the whole image": ((0, 0, 1, 1), "corners look relative to the image's size"),
}


@pytest.mark.parametrize("corners, message", BAD_BOXES.values(), ids=BAD_BOXES)
def test_a_bad_box_is_named_by_file_and_number(folder, corners, message):
    root = folder({"a": annotation(CAT, an_object("cat", *corners))})
    (fault,) = faults(root)
    assert fault.startswith(f"{root / 'Annotations' / 'a.xml'} box 2: ") and message in fault


ROBNDBOX = "<robndbox><cx>20</cx><cy>15</cy><w>10</w><h>4</h><angle>0.5</angle></robndbox>"


def turned(**numbers):
    """Return an object with a box of roLabelImg."""
    inner = "".join(f"<{tag}>{number}</{tag}>" for tag, number in numbers.items())
    return f"<object><name>cat</name><robndbox>{inner}</robndbox></object>"


def test_oriented_boxes_of_rolabelimg(folder):
    """``boxes`` has the boxes around them, clipped; a plain box in the same image has the angle 0."""
    oriented = turned(cx=20, cy=15, w=10, h=4, angle=1.5707963), turned(cx=2, cy=15, w=8, h=4, angle=0)
    sample = one(folder, annotation(*oriented, CAT))
    expected = [[20, 15, 10, 4, 1.5707963], [2, 15, 8, 4, 0]]
    np.testing.assert_allclose(sample.oriented[:2], expected, rtol=1e-6)
    np.testing.assert_allclose(sample.boxes[:2], [[18, 10, 22, 20], [0, 13, 6, 17]], atol=1e-4)
    x1, y1, x2, y2 = sample.boxes[2]
    np.testing.assert_allclose(sample.oriented[2], [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0])


def test_without_oriented_boxes_there_are_none(folder):
    sample = one(folder, annotation(CAT))
    assert sample.oriented is None


BAD_OBJECTS = {
    "no box": ("<object><name>cat</name></object>", "has no <xmin>"),
    "no corner": (CAT.replace("<ymin>1</ymin>", ""), "has no <ymin>"),
    "no name": (an_object(" ", 1, 1, 9, 9), "has no <name>"),
    "unknown class": (an_object("cow", 1, 1, 9, 9), "unknown class 'cow'; expected one of cat, dog"),
    "a near class": (an_object("Dogg", 1, 1, 9, 9), "unknown class 'Dogg', did you mean 'dog'?"),
    "difficult": (CAT.replace("t>0<", "t>maybe<"), "<difficult> is 'maybe', expected 0 or 1"),
    "two boxes": (CAT.replace("</object>", f"{BOX}</object>"), "has 2 <bndbox>, expected one: write"),
    "two names": (CAT.replace("<bndbox>", "<name>dog</name><bndbox>"), "has 2 <name>, expected one"),
    "two corners": (CAT.replace("<ymin>", "<xmin>1</xmin><ymin>"), "has 2 <xmin>, expected one"),
    "an object in it": (
        CAT.replace("</object>", f"{CAT}</object>"),
        "holds a box in <bndbox>, which is",
    ),
    "another box": (CAT.replace("bndbox", "bbox"), "holds a box in <bbox>, which is not read"),
    "no angle": (turned(cx=20, cy=15, w=10, h=4), "<robndbox> is not five numbers: cx 20, cy 15, w 10"),
    "no side": (
        turned(cx=20, cy=15, w=10, h=0, angle=1),
        "<robndbox> is less than a pixel wide or high",
    ),
    "a centre outside": (
        turned(cx=50, cy=15, w=9, h=4, angle=1),
        "<robndbox> has its centre outside the",
    ),
    "two kinds of boxes": (
        CAT.replace("</object>", f"{ROBNDBOX}</object>"),
        "has several boxes, expected",
    ),
    "letters of other case": (CAT.replace("bndbox", "BndBox"), "holds a box in <BndBox>, which is not"),
}


@pytest.mark.parametrize("bad, message", BAD_OBJECTS.values(), ids=BAD_OBJECTS)
def test_a_bad_object_is_named_by_file_and_number(folder, bad, message):
    (fault,) = faults(folder({"a": annotation(bad)}), classes=("cat", "dog"))
    assert f"a.xml box 1: {message}" in fault


BAD_XML = {
    "broken": ("<annotation>", "cannot be read as XML"),
    "empty": ("", "cannot be read as XML"),
    "unknown encoding": ("<?xml version='1.0' encoding='martian'?><annotation/>", "as XML"),
    "another document": ("<html></html>", "holds <html>, expected <annotation>"),
    "entity": ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "as XML: Entities"),
    "external": ("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hosts'>]><annotation/>", "as XML"),
    "a wrapper": (annotation(f"<objects>{CAT}</objects>"), "holds a box in <bndbox> within <objects>"),
    "an upper case": (annotation(CAT.replace("object", "Object")), "in <bndbox> within <Object>, which"),
    "a box of no object": (
        annotation(CAT, BOX),
        "holds a box in <bndbox> within <bndbox>, which is not",
    ),
    "other boxes": (annotation("<item><bbox><x>1</x></bbox></item>"), "in <bbox> within <item>"),
    "two names of files": (annotation("<filename>b.jpg</filename>"), "has 2 <filename>, expected one"),
}


@pytest.mark.parametrize("xml, message", BAD_XML.values(), ids=BAD_XML)
def test_a_bad_annotation_is_named(folder, xml, message):
    (fault,) = faults(folder({"a": xml}))
    assert "a.xml: " in fault and message in fault


def test_a_declared_size_unlike_the_real_one_is_a_fault(folder):
    (fault,) = faults(folder({"a": annotation(size=(40, 31))}))
    assert "a.xml: declares 40x31 pixels" in fault and "a.jpg has 40x30" in fault


def test_a_missing_image_is_a_fault_also_if_filename_leads_to_one_elsewhere(folder, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "elsewhere.jpg")
    (fault,) = faults(folder({"a": annotation(filename="../../elsewhere.jpg")}, image=None))
    assert "there is no image" in fault


def test_a_file_that_is_no_image_is_a_fault_beside_those_of_its_boxes(folder):
    root = folder({"a": annotation(an_object("cat", 9, 1, 5, 9))})
    (root / "JPEGImages" / "a.jpg").write_bytes(b"no image")
    assert ["is not an image" in fault for fault in faults(root)] == [True, False]


# (What else may be wrong with a split's lines is in test_voc_pairing.py.)
def test_a_split_file_names_missing_and_repeated_images_by_line(folder):
    root = folder({"a": annotation()}, split="a\n../a\nnowhere\n\na\n")
    missing, nowhere, repeated = faults(root)
    assert "train.txt line 2: there is no" in missing
    assert "train.txt line 3: there is no" in nowhere
    assert "train.txt line 5: 'a' is listed before, in line 1" in repeated


def test_all_faults_are_counted_and_listed(folder):
    boxes = [an_object("cat", 9, 1, 5, 9)] * 6
    root = folder({"a": annotation(*boxes), "b": annotation(*boxes), "c": annotation()})
    with pytest.raises(DataError, match="12 faults in 2 images"):
        voc.read(root, "train")
    places = [f"{root / 'Annotations' / name}.xml box {k + 1}" for name in "ab" for k in range(6)]
    assert [fault.split(":")[0] for fault in faults(root)] == places


def test_skip_leaves_out_whole_images_and_records_them(folder):
    thin = an_object("rat", 9, 1, 9, 9)
    root = folder(
        {"a": annotation(CAT), "b": annotation(CAT, thin, thin), "c": annotation(CAT)},
        split="a\nb\nc\nd\na\n",
    )
    dataset = voc.read(root, "train", on_bad_data="skip")
    assert [sample.name for sample in dataset.samples] == ["a", "c"]
    assert dataset.classes == ("cat",)  # not the rat of an image that is left out
    reasons = dict(dataset.skipped)
    assert list(reasons) == ["b", "d", "a"]
    assert "box 2" in reasons["b"] and "box 3" in reasons["b"]
    assert "listed before" in reasons["a"]


def test_nothing_left_is_an_error_also_with_skip(folder):
    with pytest.raises(DataError, match="every image has a fault; the first is .*a.xml"):
        voc.read(folder({"a": "<annotation>"}), "train", on_bad_data="skip")


def test_an_empty_split_is_an_error(folder):
    with pytest.raises(DataError, match="train.txt lists no image"):
        voc.read(folder({}, split="\n \n"), "train")


def test_a_missing_split_is_an_error_that_lists_those_there_are(folder):
    root = folder({"a": annotation()})
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1")
    with pytest.raises(DataError, match="val.txt does not exist; the splits there are: train$"):
        voc.read(root, "val")


MISSING = [
    (None, "frcnn download voc2007"),
    ("2012", "frcnn download voc2012"),
    ("07+12", "frcnn download voc2007 voc2012"),
]


@pytest.mark.parametrize("year, command", MISSING)
def test_no_data_is_one_line_that_says_how_to_fetch_it(tmp_path, monkeypatch, year, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        voc.read("data", "trainval", year)
    assert f"`{command}`" in str(caught.value) and "\n" not in str(caught.value)


def test_a_year_of_a_bare_folder_is_an_error(folder):
    with pytest.raises(DataError, match="leave out the year"):
        voc.read(folder({"a": annotation()}), "train", year="2007")


@pytest.mark.parametrize("wrong", [{"year": "1999"}, {"on_bad_data": "ignore"}])
def test_an_unknown_setting_is_an_error_that_shows_what_was_expected(folder, wrong):
    with pytest.raises(ConfigError, match="expected"):
        voc.read(folder({"a": annotation()}), "train", **wrong)


# Real data.


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"the real data set {name} is not in {REAL}")
    return REAL / name


def test_real_cards():
    cards = voc.read(real("cards"), "test")
    assert cards.classes == ("ace", "jack", "king", "nine", "queen", "ten")
    assert len(cards) == 67 and sum(len(sample.boxes) for sample in cards.samples) == 143
    first = cards.samples[0]
    assert (first.name, first.width, first.height) == ("IMG_2383", 378, 504)
    np.testing.assert_array_equal(first.boxes, [[96, 135, 275, 368]])


def test_real_cells_have_one_degenerate_box_in_train():
    (fault,) = faults(real("bccd"))
    assert "BloodImage_00343.xml box 4: is inverted or at most one pixel thin" in fault
    dataset = voc.read(real("bccd"), "train", on_bad_data="skip")
    assert len(dataset) == 204
    assert dataset.skipped == (("BloodImage_00343", fault),)
