"""Annotations written to a VOC folder come back as they were, however a tool may have written them."""

import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from frcnn.data import voc

TAGS = ("xmin", "ymin", "xmax", "ymax")
# What class names are made of: blanks within, signs that XML escapes, letters of other scripts.
class_names = st.text("ab <>&'\"-_é猫", min_size=1, max_size=6).map(str.strip).filter(bool)
# Also such as end in what looks like the second column of a class's own split file.
identifiers = st.text("abAB19 ._-é", min_size=1, max_size=6).map(str.strip).filter(bool)


@st.composite
def annotated_images(draw):
    """Return width, height and [(class name, inclusive corners from 1, difficult)] of an image."""
    width, height = draw(st.integers(2, 60)), draw(st.integers(2, 60))
    objects = []
    for _ in range(draw(st.integers(0, 3))):
        xmin, ymin = draw(st.integers(1, width - 1)), draw(st.integers(1, height - 1))
        xmax, ymax = draw(st.integers(xmin + 1, width)), draw(st.integers(ymin + 1, height))
        objects.append((draw(class_names), (xmin, ymin, xmax, ymax), draw(st.booleans())))
    return width, height, objects


@st.composite
def spelt(draw, width, height, objects):
    """Return the XML of an annotation: the same contents, in one of the ways that tools write."""
    gap = draw(st.sampled_from(["", "\n\t", "\r\n  "]))
    number = draw(st.sampled_from(["{}", " {} ", "{}.0", "{:.3e}"]))

    def tag(name, content):
        return f"{gap}<{name}>{content}</{name}>"

    def an_object(class_name, corners, difficult):
        box = [tag(name, number.format(corner)) for name, corner in zip(TAGS, corners)]
        parts = [
            tag("name", escape(class_name)),
            tag("bndbox", "".join(draw(st.permutations(box)))),
            tag("pose", "Left"),
        ]
        if difficult or draw(st.booleans()):
            parts.append(tag("difficult", int(difficult)))
        return tag("object", "".join(draw(st.permutations(parts))))

    size = tag("size", tag("width", width) + tag("height", height) + tag("depth", 3))
    parts = [draw(st.sampled_from(["", size])), tag("folder", "VOC2007"), tag("segmented", 0)]
    # Their own order is the boxes' order.
    parts.insert(draw(st.integers(0, 3)), "".join(an_object(*one) for one in objects))
    head = draw(st.sampled_from(["", '<?xml version="1.0" encoding="utf-8"?>\n']))
    return f"{head}<annotation>{''.join(parts)}{gap}</annotation>"


@settings(max_examples=60)
@given(st.dictionaries(identifiers, annotated_images(), min_size=1, max_size=3), st.data())
def test_what_is_written_is_read_back(images, data):
    with tempfile.TemporaryDirectory() as root:
        root = Path(root)
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / part).mkdir(parents=True)
        for identifier, (width, height, objects) in images.items():
            xml = data.draw(spelt(width, height, objects))
            (root / "Annotations" / f"{identifier}.xml").write_text(xml, encoding="utf-8", newline="")
            suffix, kind = data.draw(
                st.sampled_from([(".jpg", "JPEG"), (".JPG", "PNG"), (".bmp", "BMP")])
            )
            Image.new("RGB", (width, height)).save(root / "JPEGImages" / f"{identifier}{suffix}", kind)
        mark, end = (
            data.draw(st.sampled_from(["", "\ufeff"])),
            data.draw(st.sampled_from(["\n", "\r\n"])),
        )
        # A second column stands in every line, or in none; here not where a name could end in one.
        named = any(identifier.rpartition(" ")[2] in ("0", "1", "-1") for identifier in images)
        ends = data.draw(st.sampled_from([["", "  "]] if named else [["", "  "], [" -1", "  1", " 0"]]))
        lines = [identifier + data.draw(st.sampled_from(ends)) for identifier in images]
        text = mark + end.join(lines) + data.draw(st.sampled_from(["", end, end + end]))
        (root / "ImageSets" / "Main" / "train.txt").write_text(text, encoding="utf-8", newline="")
        dataset = voc.read(root, "train")

    assert dataset.skipped == () and [sample.name for sample in dataset.samples] == list(images)
    named = {class_name for _, _, objects in images.values() for class_name, _, _ in objects}
    assert dataset.classes == tuple(sorted(named))
    for sample, (width, height, objects) in zip(dataset.samples, images.values()):
        assert (sample.width, sample.height) == (width, height)
        assert [dataset.classes[label] for label in sample.labels] == [name for name, _, _ in objects]
        assert sample.difficult.tolist() == [difficult for _, _, difficult in objects]
        expected = np.array([corners for _, corners, _ in objects], "float32").reshape(-1, 4)
        # Half-open and counted from 0: only the upper left corner moves.
        np.testing.assert_allclose(sample.boxes, expected - [1, 1, 0, 0], atol=1e-3)
