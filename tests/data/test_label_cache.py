"""Labels that are kept between starts: the same data set, and never a stale one."""

import os

import labelled
import numpy as np
import pytest

from frcnn.data import label_cache, sources
from frcnn.data.labels import Choice
from frcnn.data.sources import open_source


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache that keeps everything, at once."""
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(label_cache, "WORTH_SECONDS", 0)
    monkeypatch.setattr(label_cache, "SETTLED_SECONDS", -1e9)
    return tmp_path / "cache" / "labels"


@pytest.fixture
def reads(monkeypatch):
    """A list that grows with each reading of labels."""
    made, own = [], sources.Source._read
    monkeypatch.setattr(
        sources.Source, "_read", lambda self, *given: (made.append(1), own(self, *given))[1]
    )
    return made


def read(root, **choice):
    return open_source(root).collect("all", Choice(**choice))


def test_what_was_kept_is_the_same(tmp_path, cache, reads):
    content = labelled.coco_content()
    content["annotations"][0] |= {"iscrowd": 1, "area": 12.5, "segmentation": [[1, 1, 2, 2, 3, 1]]}
    content["images"].append({"id": 99, "file_name": "missing.jpg"})
    labelled.images(tmp_path / "data")
    labelled.write(tmp_path, "data/a.json", content)
    options = {"classes": ("dog", "cat"), "clip": True}
    (before, faults), (after, again) = (read(tmp_path / "data", **options) for _ in range(2))
    assert len(reads) == 1 and len(list(cache.iterdir())) == 1
    assert faults == again and len(faults) == 1
    for name in ("name", "classes", "dropped", "clipped", "outlines", "made"):
        assert getattr(before, name) == getattr(after, name)
    assert before.fingerprint() == after.fingerprint()
    for one, other in zip(before.samples, after.samples, strict=True):
        assert (one.name, one.path, one.width, one.height) == (
            other.name,
            other.path,
            other.width,
            other.height,
        )
        for name in ("boxes", "labels", "difficult", "crowd", "area"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert any("kept in" in note for note in after.notes)


@pytest.mark.parametrize("what", ["labels", "image", "new image", "same length and time", "choice"])
def test_nothing_stale_is_taken(tmp_path, cache, reads, what):
    root = tmp_path / "data"
    labelled.csv(root)
    choice = {}
    read(root)
    path = root / "annotations.csv"
    if what == "labels":
        path.write_text(path.read_text() + "c.jpg,1,1,9,9,cat\n")
    elif what == "image":
        (root / "images" / "b.jpg").write_bytes(b"")
    elif what == "new image":
        labelled.images(root / "images", "x")
    elif what == "same length and time":
        status = os.stat(path)
        path.write_text(path.read_text().replace("cat", "cow"))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        choice = {"rename": {"cat": "pet"}}
    read(root, **choice)
    assert len(reads) == 2


def test_a_file_that_has_just_changed_is_not_kept(tmp_path, cache, reads, monkeypatch):
    monkeypatch.setattr(label_cache, "SETTLED_SECONDS", 1000)
    labelled.csv(tmp_path / "data")
    read(tmp_path / "data"), read(tmp_path / "data")
    assert len(reads) == 2 and not cache.exists()


def test_a_damaged_or_unwritable_cache_is_no_fault(tmp_path, cache, reads, monkeypatch):
    labelled.csv(tmp_path / "data")
    read(tmp_path / "data")
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:99])
    dataset, _ = read(tmp_path / "data")
    assert len(reads) == 2 and len(dataset) == 3
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRCNN_CACHE", str(tmp_path / "file"))
    assert len(read(tmp_path / "data")[0]) == 3
    monkeypatch.setenv("FRCNN_CACHE", os.devnull)
    assert len(read(tmp_path / "data")[0]) == 3


def test_voc_folders_are_kept_too(cache, reads, shapes_folder):
    for _ in range(2):
        dataset, _ = open_source(shapes_folder).collect("train", Choice())
        assert len(dataset) == 8
    assert len(reads) == 1


def test_few_files_are_kept(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(label_cache, "MOST_FILES", 2)
    labelled.csv(tmp_path / "data")
    for name in "abcd":
        read(tmp_path / "data", rename={"cat": name})
    assert len(list(cache.iterdir())) == 2


def test_labels_are_parsed_once_for_both_parts(tmp_path, monkeypatch):
    labelled.coco(tmp_path)
    source = open_source(tmp_path)
    made, own = [], source.found.reader.read
    monkeypatch.setattr(source.found.reader, "read", lambda *given: (made.append(1), own(*given))[1])
    lengths = [len(source.collect(split, Choice(("cat", "dog")))[0]) for split in ("train", "val")]
    assert lengths == [2, 1] and len(made) == 1
