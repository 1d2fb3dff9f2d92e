"""Which image belongs to an annotation, and which annotation to a line of a split file."""

import pytest
from PIL import Image

from frcnn.data import voc
from frcnn.data.voc_pairing import VocFiles
from frcnn.errors import DataError

# Annotations, images, identifier, <filename> -> the image.
PAIRS = {
    "same name": ("a", "a.jpg b.jpg", "a", "b.jpg", "a.jpg"),
    "filename chooses the ending": ("a", "a.jpg a.png", "a", "a.png", "a.png"),
    "filename chooses the case of the ending": ("a", "a.jpg a.JPG", "a", "x/a.JPG", "a.JPG"),
    "each its own case": ("a A", "a.jpg A.JPG", "A", "a.jpg", "A.JPG"),
    "only one can be read": ("a", "a.gif a.png", "a", "", "a.png"),
    "one that cannot be read, to say so": ("a", "a.gif b.png", "a", "", "a.gif"),
    "filename alone": ("a", "photo.jpg A.jpg", "a", "..\\x\\photo.jpg", "photo.jpg"),
    "another case": ("a", "A.jpg b.jpg", "a", "", "A.jpg"),
    "another case of filename": ("a", "PHOTO.JPG", "a", "photo.jpg", "PHOTO.JPG"),
    "no image's ending": ("a", "a.txt a.xml photo", "a", "photo", "photo"),
    "dots": ("a. a", "a..jpg a.jpg", "a.", "", "a..jpg"),
}


def find(annotations, images, identifier, filename):
    names = {f"{name}.xml" for name in annotations.split()}
    return VocFiles(names, images.split()).image_of(identifier, filename)


@pytest.mark.parametrize("case", PAIRS)
def test_an_image_is_found(case):
    *given, image = PAIRS[case]
    assert find(*given) == image


NO_PAIRS = {
    "two endings": (
        "a",
        "a.jpg a.png",
        "a",
        "c.jpg",
        "2 images match: a.jpg, a.png; <filename> is 'c.jpg'",
    ),
    "two cases": ("a", "A.jpg A.png", "a", "", "2 images match: A.jpg, A.png; <filename> is ''"),
    "another's": ("a b", "b.jpg", "a", "b.jpg", "no image of its own: b.jpg belongs to b.xml"),
    "another's in other letters": (
        "a A",
        "A.JPG",
        "a",
        "",
        "no image of its own: A.JPG belongs to A.xml",
    ),
    "none": ("a", "b.jpg", "a", "c.jpg", "there is no image for it (tried .jpg, "),
}


@pytest.mark.parametrize("case", NO_PAIRS)
def test_an_image_that_is_not_the_only_one_is_no_pair(case):
    *given, says = NO_PAIRS[case]
    with pytest.raises(DataError) as caught:
        find(*given)
    assert says in str(caught.value)


@pytest.mark.parametrize("order", ["a b", "b a"])
def test_both_annotations_of_one_image_are_faults(tmp_path, order):
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for name in "abc":
        text = "<annotation><filename>photo.jpg</filename></annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(text)
    for name in ("photo", "c"):
        Image.new("RGB", (40, 30)).save(tmp_path / f"JPEGImages/{name}.jpg")
    (tmp_path / "ImageSets/Main/train.txt").write_text("\n".join([*order.split(), "c"]))
    _, faults = voc.collect(tmp_path, "train")
    first, second = order.split()
    what = f"{tmp_path}/JPEGImages/photo.jpg: is the only image that fits {first}.xml and {second}.xml"
    assert [str(fault) for fault in faults] == [what] * 2
    assert [sample.name for sample in voc.read(tmp_path, "train", on_bad_data="skip").samples] == ["c"]


# Lines of a split file.


def identify(annotations, images, *lines):
    names = {f"{name}.xml" for name in annotations.split("|")}
    files = VocFiles(names, [f"{name}.jpg" for name in images.split("|")])
    return [found[1:] for found in files.identifiers(list(enumerate(lines, start=1)))]


@pytest.mark.parametrize("lines", [["a 1", "b -1"], ["a  0", "b\t1"]])
def test_a_second_column_in_all_lines_is_left_out(lines):
    assert identify("a|b", "a|b", *lines) == [("a", None), ("b", None)]


def test_a_name_may_end_in_a_number():
    assert identify("cell|cell 0", "cell|cell 0", "cell 0", "cell") == [("cell 0", None), ("cell", None)]


@pytest.mark.parametrize(
    "annotations, images, lines",
    [
        ("cell 0|cell", "cell 0|cell 1|cell", ["cell 0", "cell 1"]),  # one line is a name as a whole
        ("cell", "cell|cell 1", ["cell 1"]),  # an image has the whole line's name
        ("cell|b", "cell|b", ["b", "cell 1"]),  # one line has no second column
    ],
)
def test_a_missing_annotation_is_not_replaced_by_that_of_a_shorter_name(annotations, images, lines):
    (identifier, advice) = identify(annotations, images, *lines)[-1]
    assert identifier == "cell 1" and advice.startswith("; cell.xml is there, but")


ADVICE = {
    "a.jpg": ": leave out the ending, write a",
    "a.xml": ": leave out the ending, write a",
    "JPEGImages/a.JPG": ": leave out folder and ending, write a",
    "C:\\x\\a.xml": ": leave out folder and ending, write a",
    "../a": ": leave out folder and ending, write a",
    "A": ", did you mean a?",
    "b": "",
    "b.jpg": "",
    "a.7": "",
}


@pytest.mark.parametrize("line", ADVICE)
def test_a_line_that_names_no_annotation_says_how_it_would(line):
    assert identify("a", "a", line) == [(line, ADVICE[line])]
