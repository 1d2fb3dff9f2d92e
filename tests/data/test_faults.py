"""Every fault that a data set is known to come with: reported at once, or left out and listed.

``FAULTS`` is the list: a name, how one of three good images is spoilt, and what the report says. What
need not be a fault is in ``NO_FAULTS``. Both go through the policy as a whole.
"""

import codecs
import struct
import tempfile

import cv2
import numpy as np
import pytest
from PIL import Image

from frcnn.config.schema import AnchorConfig, DataConfig, RpnConfig
from frcnn.data import build, faults
from frcnn.data.anchor_targets import AnchorTargetCreator
from frcnn.data.loader import DataLoader
from frcnn.errors import DataError
from frcnn.ops import anchors

GOOD = ("cat", 3, 4, 20, 25)


def xml(*objects, size=(40, 30), filename="b.jpg"):
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects or [GOOD]
    )
    width, height = size
    declared = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation><filename>{filename}</filename>{declared}{boxes}</annotation>"


def picture(mode="RGB", size=(40, 30)):
    levels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), "uint8")
    return Image.fromarray(levels).convert(mode)


@pytest.fixture
def root(tmp_path):
    """Return a VOC folder of three good images, ``a``, ``b`` and ``c``, of 40x30 pixels."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for name in "abc":
        (tmp_path / "Annotations" / f"{name}.xml").write_text(xml(filename=f"{name}.jpg"))
        picture().save(tmp_path / "JPEGImages" / f"{name}.jpg")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\nc\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("a\nc\n")
    return tmp_path


# How ``b`` is spoilt: functions of the folder.


def image(write):
    """Replace the image of ``b`` by what ``write(path)`` makes."""
    return lambda root: write(root / "JPEGImages" / "b.jpg")


def cut(path, kind="JPEG", **options):
    picture().save(path, kind, **options)
    path.write_bytes(path.read_bytes()[:-100])


def declare(path, width, height):
    content = bytearray(path.read_bytes())
    start = content.find(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    path.write_bytes(content)


def annotation(text, encoding="utf-8", bom=b""):
    """Replace the annotation of ``b``."""
    return lambda root: (root / "Annotations" / "b.xml").write_bytes(bom + text.encode(encoding))


def boxes(*objects, **settings):
    return annotation(xml(*objects, **settings))


def split(text):
    return lambda root: (root / "ImageSets/Main/train.txt").write_bytes(text.encode())


def replace_by_png(path):
    """A PNG whose header and end are right and whose pixels are not."""
    picture().save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def no_image_but_elsewhere(filename):
    """Take the image away, and have ``<filename>`` name one outside the data set."""

    def spoil(root):
        (root / "JPEGImages" / "b.jpg").rename(root / "b.jpg")
        boxes(GOOD, filename=filename.format(root=root))(root)

    return spoil


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
    "<annotation><filename>&c;</filename></annotation>"
)
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation>&x;</annotation>'
DTD = '<!DOCTYPE annotation SYSTEM "http://localhost:1/a.dtd" [<!ENTITY % p "x">]><annotation/>'

FAULTS = {
    "truncated JPEG": (image(cut), "b.jpg: is cut off"),
    "truncated progressive JPEG": (image(lambda p: cut(p, progressive=True)), "b.jpg: is cut off"),
    "truncated PNG": (image(lambda p: cut(p, "PNG")), "b.jpg: is cut off"),
    "zero bytes": (image(lambda p: p.write_bytes(b"")), "b.jpg: is empty (0 bytes)"),
    "no image at all": (image(lambda p: p.write_text("<html>404</html>")), "b.jpg: is not an image"),
    "0x0": (image(lambda p: declare(p, 0, 0)), "b.jpg: is not an image, or its header is damaged"),
    "20000x20000": (image(lambda p: declare(p, 20000, 20000)), "b.jpg: declares more than the limit"),
    "missing image": (image(lambda p: p.unlink()), "there is no image"),
    "folder for an image": (image(lambda p: (p.unlink(), p.mkdir())), "b.jpg: cannot be read: is a fol"),
    "broken XML": (annotation(xml()[:-20]), "b.xml: cannot be read as XML"),
    "empty XML": (annotation(""), "b.xml: cannot be read as XML: no element found"),
    "Latin-1 that says UTF-8": (annotation(xml(("chaîne", 1, 1, 9, 9)), "latin-1"), "b.xml: cannot be"),
    "an unknown encoding": (
        annotation('<?xml version="1.0" encoding="martian"?><annotation/>'),
        "b.xml",
    ),
    "entity expansion": (annotation(LAUGHS), "b.xml: cannot be read as XML: Entities"),
    "external entity": (annotation(OUTSIDE), "b.xml: cannot be read as XML: Entities"),
    "external DTD": (annotation(DTD), "b.xml: cannot be read as XML: Entities"),
    "../ in filename": (no_image_but_elsewhere("../b.jpg"), "there is no image"),
    "absolute path in filename": (no_image_but_elsewhere("{root}/b.jpg"), "there is no image"),
    "inverted box": (boxes(GOOD, ("cat", 20, 4, 3, 25)), "b.xml box 2: is inverted"),
    "box outside": (boxes(("cat", 50, 4, 60, 25)), "b.xml box 1: reaches out of the 40x30 image"),
    "box partly outside": (boxes(("cat", 3, 4, 45, 25)), "b.xml box 1: reaches out of the 40x30"),
    "zero-area box": (boxes(("cat", 5, 4, 5, 25)), "b.xml box 1: is inverted or at most one pixel"),
    "NaN": (boxes(("cat", 5, "NaN", 9, 25)), "b.xml box 1: <ymin> is 'NaN', not a number"),
    "infinite": (boxes(("cat", 5, 4, "inf", 25)), "b.xml box 1: <xmax> is 'inf', not a number"),
    "not a number": (boxes(("cat", 5, 4, 9, "25px")), "b.xml box 1: <ymax> is '25px', not a number"),
    "a number of a million digits": (boxes(("cat", 5, 4, 9, "1" * 10**6)), "b.xml box 1: <ymax> is '1"),
    "1-pixel box": (boxes(("cat", 5, 5, 5, 5)), "b.xml box 1: is inverted or at most one pixel thin"),
    "far too many boxes": (boxes(*[GOOD] * 2001), "b.xml: has 2001 objects; the limit is 2000"),
    "declared size unlike the real": (boxes(size=(41, 30)), "b.xml: declares 41x30 pixels, but"),
    "declared size of 20000x20000": (boxes(size=(20000, 20000)), "b.xml: declares 20000x20000 pixels"),
    "declared size in words": (boxes(size=("wide", 30)), "b.xml: declares widex30 pixels"),
    "missing name in the split": (split("a\nno such\nc\n"), "train.txt line 2: there is no"),
    "duplicate in the split": (split("a\nc\na\n"), "train.txt line 3: 'a' is listed before, in line 1"),
    "path in the split": (split("a\n../Annotations/b\nc\n"), "train.txt line 2: there is no"),
    "shares of the image": (boxes(("cat", 0.1, 0.2, 1, 1)), "b.xml box 1: corners look relative"),
    "a wrapper": (annotation(xml().replace("object>", "objects>")), "b.xml: holds a box in <bndbox>"),
    "ending in the split": (split("a\nb.jpg\nc\n"), "line 2: there is no"),
    "GIF": (
        image(lambda p: picture().save(p, "GIF")),
        "b.jpg: is a GIF image, which is not read: save it",
    ),
    "two images": (
        lambda root: picture().save(root / "JPEGImages/b.bmp") or boxes(filename="x.jpg")(root),
        "2 images match: b.bmp, b.jpg",
    ),
    "another's image": (
        lambda root: (root / "JPEGImages/b.jpg").unlink() or boxes(GOOD, filename="a.jpg")(root),
        "there is no image of its own: a.jpg belongs to a.xml",
    ),
}


def config(root, **settings):
    return DataConfig(
        dir=str(root),
        train_split="train",
        val_split="val",
        classes=("cat",),
        short_side=30,
        long_side=40,
        **settings,
    )


@pytest.mark.parametrize("spoil, says", FAULTS.values(), ids=FAULTS)
def test_each_fault_is_an_error_that_says_where(root, spoil, says):
    spoil(root)
    with pytest.raises(DataError) as caught:
        build.load(config(root))
    message = str(caught.value)
    assert says in message and "--on-bad-data skip" in message
    assert "\n" not in message and len(message) < 1000


@pytest.mark.parametrize("spoil, says", FAULTS.values(), ids=FAULTS)
def test_each_fault_is_left_out_and_listed_with_skip(root, spoil, says):
    spoil(root)
    train, val = build.load(config(root, on_bad_data="skip"))
    assert [sample.name for sample in train.samples] == ["a", "c"]
    ((_, reason),) = train.skipped
    assert says in reason
    assert len(val) == 2 and not val.skipped
    (batch,) = DataLoader(train, config(root, batch_size=2), 8).epoch()
    assert len(batch.samples) == 2


# What looks odd and is right.

NO_FAULTS = {
    "PNG named .jpg": image(lambda p: picture().save(p, "PNG")),
    "CMYK": image(lambda p: picture("CMYK").save(p)),
    "16 bits": image(lambda p: p.write_bytes(cv2.imencode(".png", np.ones((30, 40), "uint16"))[1])),
    "palette": image(lambda p: picture("P").save(p, "PNG")),
    "RGBA": image(lambda p: picture("RGBA").save(p, "PNG")),
    "grey": image(lambda p: picture("L").save(p)),
    "declared size of 0x0": boxes(size=(0, 0)),
    "declared size empty": boxes(size=("", "")),
    "UTF-16": annotation(xml(), "utf-16"),
    "UTF-8 with a mark": annotation(xml(), bom=codecs.BOM_UTF8),
    "Latin-1 that says so": annotation(
        '<?xml version="1.0" encoding="iso-8859-1"?>' + xml(filename="chaîne.jpg"), "latin-1"
    ),
    "absolute path of another machine": boxes(filename="/home/someone/pictures/b.jpg"),
    "hundreds of boxes": boxes(*[GOOD] * 999),
    "blank and CRLF lines": split("\ufeffa\r\n\r\n  \r\nb  \r\nc\r\n\r\n"),
    "an image without objects": annotation("<annotation/>"),
}


@pytest.mark.parametrize("change", NO_FAULTS.values(), ids=NO_FAULTS)
def test_what_is_odd_but_right_is_read_and_trained_on(root, change):
    change(root)
    train, _ = build.load(config(root))
    assert [sample.name for sample in train.samples] == ["a", "b", "c"] and not train.skipped
    odd = train.samples[1]
    assert (odd.width, odd.height) == (40, 30)
    batches = list(DataLoader(train, config(root, flip=0.0), 8, training=False).epoch())
    assert (batches[1].gt_labels >= 0).sum() == len(odd.boxes)
    if len(odd.boxes):
        np.testing.assert_allclose(batches[1].gt_boxes[0, 0], [2, 3, 20, 25])


def test_thousands_of_boxes_are_trained_on(root):
    boxes(*[GOOD] * 2000)(root)
    train, _ = build.load(config(root))
    anchor_generator, rpn = (
        anchors.AnchorGenerator(strides=(8,), **vars(AnchorConfig(sizes=(16.0,)))),
        RpnConfig(),
    )
    options = {"training": False, "make_targets": AnchorTargetCreator(anchor_generator, rpn)}
    batch = list(DataLoader(train, config(root), 8, **options).epoch())[1]
    assert (batch.gt_labels == 0).sum() == 2000
    assert all(np.isfinite(target).all() for target in batch.targets)


def test_an_image_of_two_annotations_in_two_splits_is_a_fault(root):
    for name in "de":
        (root / f"Annotations/{name}.xml").write_text(xml(filename="photo.jpg"))
    picture().save(root / "JPEGImages/photo.jpg")
    (root / "ImageSets/Main/train.txt").write_text("a\nd\n")
    (root / "ImageSets/Main/val.txt").write_text("e\nc\n")
    with pytest.raises(DataError, match="photo.jpg: is the only image that fits e.xml and d.xml of"):
        build.load(config(root))
    train, val = build.load(config(root, on_bad_data="skip"))
    assert [sample.name for sample in (*train.samples, *val.samples)] == ["a", "d", "c"]


def test_a_class_that_only_validation_has_is_told_the_ways_out(root):
    (root / "Annotations/c.xml").write_text(xml(("dog", 3, 4, 20, 25)))
    split("a\nb\n")(root)
    with pytest.raises(DataError) as caught:
        build.load(config(root).replace(classes=()))
    message = str(caught.value)
    assert "unknown class 'dog'; expected one of cat; no object of the training split, train," in message
    assert "--set data.classes=" in message


# EXIF: an image of 40x30 that is shown as 30x40, and a box at its stored top left.


def turned(root, size, orientation=6):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((30, 40, 3), "uint8")
    stored[:8, :20] = 255
    Image.fromarray(stored).save(root / "JPEGImages" / "b.jpg", exif=exif, quality=95)
    box = {(40, 30): (1, 1, 20, 8), (30, 40): (23, 1, 30, 20)}[size]
    boxes(("cat", *box), size=size)(root)


@pytest.mark.parametrize("size", [(40, 30), (30, 40)], ids=["as stored", "as shown"])
def test_boxes_belong_to_the_orientation_whose_size_is_declared(root, size):
    turned(root, size)
    train, _ = build.load(config(root))
    sample = train.samples[1]
    assert (sample.width, sample.height) == (30, 40)
    np.testing.assert_array_equal(sample.boxes, [[22, 0, 30, 20]])
    batch = list(DataLoader(train, config(root), 2, training=False).epoch())[1]
    y, x = np.nonzero(batch.images[0, :40, :30, 0] > 127)
    assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (22, 0, 30, 20)


def test_boxes_are_held_against_the_orientation_they_belong_to(root):
    turned(root, (40, 30))
    boxes(("cat", 1, 31, 20, 39), size=(40, 30))(root)
    with pytest.raises(DataError, match="reaches out of the 40x30 image"):
        build.load(config(root))


def test_where_no_size_tells_boxes_belong_to_the_image_as_shown(root):
    turned(root, (30, 40))
    boxes(("cat", 23, 1, 30, 20), size=(0, 0))(root)
    np.testing.assert_array_equal(build.load(config(root))[0].samples[1].boxes, [[22, 0, 30, 20]])


# The report as a whole.


def test_the_faults_of_both_splits_are_reported_at_once(root):
    (root / "ImageSets/Main/val.txt").write_text("c\nd\n")
    boxes(("cat", 9, 9, 3, 3), ("cat", 5, 5, 5, 25))(root)
    (root / "JPEGImages" / "b.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        build.load(config(root))
    first, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{root.name} train and {root.name} val: 4 faults in 2 images")
    places = ["JPEGImages/b.jpg", "Annotations/b.xml box 1", "Annotations/b.xml box 2"]
    places.append("ImageSets/Main/val.txt line 2")
    assert [line.split(": ")[0] for line in lines] == [f"  {root}/{place}" for place in places]


def test_a_report_fits_a_screen_and_the_rest_is_in_a_file(root, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    boxes(*[("cat", 9, 9, 3, 3)] * 700)(root)
    with pytest.raises(DataError) as caught:
        build.load(config(root))
    first, *lines, last = str(caught.value).splitlines()
    assert "700 faults in 1 image" in first and len(lines) == faults.MOST < 20
    (report,) = tmp_path.glob("frcnn-faults-*.txt")
    assert last == f"  ... and 688 more; all are in {report}"
    all_lines = report.read_text().splitlines()
    assert len(all_lines) == 700 and [f"  {line}" for line in all_lines[: faults.MOST]] == lines
    assert "b.xml box 700: is inverted" in all_lines[-1]
    # The same faults are no other file, and that one is not written to again.
    report.write_text("a note of somebody's")
    with pytest.raises(DataError, match=str(report)):
        build.load(config(root))
    assert report.read_text() == "a note of somebody's"


def test_a_report_without_room_for_its_file_says_how_many_there_are(root, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(root / "no such folder"))
    boxes(*[("cat", 9, 9, 3, 3)] * 700)(root)
    with pytest.raises(DataError, match="and 688 more$"):
        build.load(config(root))


def test_the_record_of_an_image_stays_readable(root):
    boxes(*[("cat", 9, 9, 3, 3)] * 700)(root)
    train, _ = build.load(config(root, on_bad_data="skip"))
    ((_, reason),) = train.skipped
    assert "b.xml box 12: is inverted" in reason and reason.endswith("; and 688 more")


def test_one_split_for_training_and_validation_reports_a_fault_once(root):
    boxes(("cat", 9, 9, 3, 3))(root)
    settings = config(root).replace(val_split="train")
    with pytest.raises(DataError) as caught:
        build.load(settings)
    assert len(str(caught.value).splitlines()) == 1


def test_a_class_that_only_a_faulty_image_has_is_no_fault_elsewhere(root):
    boxes(("dog", 3, 4, 20, 25), ("cat", 9, 9, 3, 3))(root)
    (root / "Annotations" / "c.xml").write_text(xml(("dog", 3, 4, 20, 25)))
    (root / "ImageSets/Main/train.txt").write_text("a\nb\n")
    with pytest.raises(DataError) as caught:
        build.load(config(root).replace(classes=()))
    assert "unknown class" not in str(caught.value)


@pytest.mark.parametrize("policy", ["error", "skip"])
@pytest.mark.parametrize("lines, says", [("", "lists no image"), ("\r\n\r\n", "lists no image")])
def test_an_empty_data_set_is_an_error(root, policy, lines, says):
    split(lines)(root)
    with pytest.raises(DataError, match=says):
        build.load(config(root, on_bad_data=policy))


def test_nothing_but_faults_is_an_error_with_skip(root):
    split("x\ny\n")(root)
    with pytest.raises(DataError, match="train: every image has a fault; the first is .*line 1"):
        build.load(config(root, on_bad_data="skip"))


# What no header tells, found while training.


def test_a_damaged_image_is_found_when_it_is_decoded(root):
    image(replace_by_png)(root)
    train, _ = build.load(config(root))
    with pytest.raises(DataError, match="b.jpg cannot be decoded"):
        list(DataLoader(train, config(root), 8).epoch())


def test_with_skip_it_is_left_out_of_its_batch_and_reported_each_time(root):
    image(replace_by_png)(root)
    settings, found = config(root, on_bad_data="skip", batch_size=3), []
    train, _ = build.load(settings)
    pipeline = DataLoader(train, settings, 8, on_skip=lambda *row: found.append(row))
    for number in range(3):
        (batch,) = pipeline.epoch(number)
        assert sorted(sample.name for sample in batch.samples) == ["a", "c"]
        assert batch.images.shape[0] == batch.gt_boxes.shape[0] == len(batch.weights) == 2
    assert len(found) == 3 and len(set(found)) == 1
    split, name, fault = found[0]
    assert (split, name) == (train.name, "b") and "b.jpg cannot be decoded" in fault


def test_batches_without_any_image_left_are_passed_over(root):
    image(replace_by_png)(root)
    settings = config(root, on_bad_data="skip")
    train, _ = build.load(settings)
    batches = list(DataLoader(train, settings, 8, training=False).epoch())
    assert [batch.samples[0].name for batch in batches] == ["a", "c"]


def test_if_nothing_can_be_decoded_it_is_an_error_also_with_skip(root):
    image(replace_by_png)(root)
    split("b\n")(root)
    settings = config(root, on_bad_data="skip")
    train, _ = build.load(settings)
    with pytest.raises(DataError, match="no image of .* can be decoded: b: .*b.jpg"):
        list(DataLoader(train, settings, 8).epoch())


def test_what_is_left_out_is_said_unless_it_is_recorded(root, capsys):
    image(replace_by_png)(root)
    settings = config(root, on_bad_data="skip")
    list(DataLoader(build.load(settings)[0], settings, 8).epoch())
    assert f"skipped: {root.name} train: b: the image" in capsys.readouterr().err


def test_an_image_that_changed_since_it_was_read_is_a_fault(root):
    train, _ = build.load(config(root))
    picture(size=(60, 30)).save(root / "JPEGImages" / "b.jpg")
    with pytest.raises(DataError, match="b.jpg has 60x30 pixels now, but had 40x30"):
        list(DataLoader(train, config(root), 8).epoch())


def test_names_that_are_no_text_can_be_recorded(root):
    name = b"a\xff.jpg".decode("utf-8", "surrogateescape")
    faults.record(root / "skipped.csv", [("train", "a", name)])
    faults.record(root / "skipped.csv", [("train", "b", "x")])
    lines = (root / "skipped.csv").read_text().splitlines()
    assert lines == ["split,image,fault", "train,a,a\\udcff.jpg", "train,b,x"]
