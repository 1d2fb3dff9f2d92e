"""A VOC folder that something has been at: whatever is wrong with it, only errors of ours or samples.

Valid files are mutated, hundreds of times, by bytes and by elements, from fixed seeds. What comes out of
the reader must then also go through the pipeline's own decoding.
"""

import io
import random
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from frcnn.data import transforms, voc
from frcnn.data.sample import Dataset
from frcnn.errors import DataError, FrcnnError

XML = """<?xml version="1.0" encoding="utf-8"?>
<annotation><folder>VOC2007</folder><filename>a.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object>
<object><name>dog</name><difficult>1</difficult>
<bndbox><xmin>1.5</xmin><ymin>1</ymin><xmax>40</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""
SPLIT = "a\nb\nc\n"
TEXTS = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "0",
    "1",
    "0x10",
    "1_0",
    "1,5",
    "٣",
    "½",
    "9" * 5000,
    "../../a.jpg",
    "a\\b\\..",
    "person\n",
    "<cat>",
    "\u202e",
    "\U0001f408" * 50,
    "None",
)
HEADS = (
    '<?xml version="1.0" encoding="{}"?>',
    '<!DOCTYPE annotation SYSTEM "file:///dev/null">',
    '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]>',
    "<?xml-stylesheet href='a'?>",
    "<!-- " + "-" * 20,
)
ENCODINGS = (
    "utf-16 utf-7 utf-32 ascii cp037 idna punycode hex rot13 undefined base64 shift_jis x".split()
)


def mutate_bytes(content, rng):
    """Return bytes with a few of them changed, left out, repeated or put in."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice([1, 1, 2, 8, 200]))
        kind = rng.randrange(6)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            content[at:end] = rng.randbytes(end - at)
        elif kind == 2:
            del content[at:end]
        elif kind == 3:
            content[at:at] = content[at:end] * rng.choice([1, 2, 50])
        elif kind == 4:
            content[at:at] = rng.choice([b"\0", b"\xff\xfe", b"<", b"&", b"]]>", b"\n", b"\xc3"])
        elif rng.random() < 0.3:
            del content[at:]
    return bytes(content)


def mutate_elements(content, rng):
    """Return an annotation with elements renamed, moved, repeated, nested, emptied or filled."""
    root = ElementTree.fromstring(content)
    for _ in range(rng.randint(1, 3)):
        inner = [(parent, child) for parent in root.iter() for child in parent]
        if not inner:
            break
        parent, child = rng.choice(inner)
        kind = rng.randrange(7)
        if kind == 0:
            parent.remove(child)
        elif kind == 1:
            parent.append(child)
        elif kind == 2:
            child.tag = rng.choice([other.tag for _, other in inner] + ["annotation", "x"])
        elif kind == 3:
            child.text = rng.choice(TEXTS)
        elif kind == 4:
            child.text, child.tail = child.tail, child.text
        elif kind == 5:
            top = child
            for _ in range(rng.choice([1, 20, 5000])):
                top = ElementTree.SubElement(top, child.tag)
            top.text = child.text
        else:
            ElementTree.SubElement(child, rng.choice(["name", "bndbox", "xmin"])).text = "7"
    # By hand: ElementTree's own writer is recursive and gives up on deep trees.
    written, open_elements = [], [(root, False)]
    while open_elements:
        element, is_end = open_elements.pop()
        if is_end:
            written.append(f"</{element.tag}>")
            continue
        text = (element.text or "").replace("&", "&amp;").replace("<", "&lt;")
        written.append(f"<{element.tag}>{text}")
        open_elements.append((element, True))
        open_elements += [(child, False) for child in reversed(element)]
    head = rng.choice(HEADS).format(rng.choice(ENCODINGS)) if rng.random() < 0.2 else ""
    return (head + "".join(written)).encode()


def image_bytes(kind):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), "uint8")
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Return a VOC folder of three equal images."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / part).mkdir(parents=True)
    for name in "abc":
        (tmp_path / "Annotations" / f"{name}.xml").write_text(XML)
        (tmp_path / "JPEGImages" / f"{name}.jpg").write_bytes(image_bytes("JPEG"))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text(SPLIT)
    return tmp_path


def read(folder):
    """Read a folder with both policies; return the samples of what can be read, or the error."""
    try:
        dataset = voc.read(folder, "train", on_bad_data="skip")
    except FrcnnError as error:
        with pytest.raises(DataError):
            voc.read(folder, "train")
        assert str(error).strip()
        return error
    assert isinstance(dataset, Dataset)
    if dataset.skipped:
        with pytest.raises(DataError) as caught:
            voc.read(folder, "train")
        assert all(str(reason) for _, reason in dataset.skipped) and str(caught.value)
    dataset.summary()
    for sample in dataset.samples:
        boxes = sample.boxes
        assert boxes.dtype == np.float32 and boxes.shape == (len(sample.labels), 4)
        assert len(sample.labels) == len(sample.difficult)
        assert np.isfinite(boxes).all() and (boxes >= 0).all()
        assert (boxes[:, 2:] <= [sample.width, sample.height]).all()
        # Seven digits, of corners that are no whole pixels.
        assert (boxes[:, 2:] - boxes[:, :2] >= 1 - 1e-4).all()
        assert all(dataset.classes[label] for label in sample.labels)
    return dataset.samples


MUTATIONS = {"bytes": mutate_bytes, "elements": mutate_elements}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_mutated_annotations(folder, kind):
    rng, outcomes = random.Random(1), []
    for _ in range(400):
        path = folder / "Annotations" / "a.xml"
        path.write_bytes(MUTATIONS[kind](XML.encode(), rng))
        outcomes.append(len(read(folder)))
    # Both happen, or nothing is tried.
    assert set(outcomes) == {2, 3} and min(outcomes.count(2), outcomes.count(3)) > 20


def test_mutated_splits(folder):
    rng, outcomes = random.Random(2), []
    for _ in range(400):
        content = mutate_bytes(SPLIT.encode(), rng)
        (folder / "ImageSets" / "Main" / "train.txt").write_bytes(content)
        outcomes.append(read(folder))
    assert any(isinstance(outcome, DataError) for outcome in outcomes)
    assert any(not isinstance(outcome, DataError) for outcome in outcomes)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_mutated_images(folder, kind):
    rng, content, decoded = random.Random(3), image_bytes(kind), 0
    path = folder / "JPEGImages" / "a.jpg"
    for number in range(150):
        # Half of the changes in the headers, which are a small part of the file.
        head = content[:60] if number % 2 else content
        path.write_bytes(mutate_bytes(head, rng) + content[len(head) :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of images that are or say they are very large
            for sample in read(folder):
                if sample.name != "a":
                    continue
                try:
                    image = transforms.load(sample.path)
                except DataError:
                    continue
                decoded += 1
                assert image.shape == (sample.height, sample.width, 3)
    assert decoded > 5


def test_things_that_are_no_files(folder):
    (folder / "Annotations" / "a.xml").unlink()
    (folder / "Annotations" / "a.xml").mkdir()
    (folder / "JPEGImages" / "b.jpg").unlink()
    (folder / "JPEGImages" / "b.jpg").mkdir()
    (folder / "JPEGImages" / "c.jpg").unlink()
    (folder / "JPEGImages" / "c.jpg").symlink_to("c.jpg")
    assert "every image has a fault" in str(read(folder))
    (folder / "ImageSets" / "Main" / "train.txt").unlink()
    (folder / "ImageSets" / "Main" / "train.txt").mkdir()
    assert "train.txt cannot be read: is a folder, not a file" in str(read(folder))
