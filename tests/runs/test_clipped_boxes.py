"""``clipped.csv``: which boxes a run clips, and the same list in the report of ``frcnn inspect``."""

import csv
import types

import labelled

from frcnn.cli import inspect
from frcnn.data.sample import Dataset
from frcnn.runs.skipped_images import SkippedImages

CLIPPED = ("a", "train.csv line 2: clipped to the 40x30 image: x1 30, y1 5, x2 42, y2 20")


def test_a_run_lists_the_boxes_that_it_clips(tmp_path, capsys):
    listing = SkippedImages(tmp_path, types.SimpleNamespace(is_main=True))
    clean = Dataset("pets train", ("cat",), ())
    spoilt = Dataset("pets train", ("cat",), (), clipped=(CLIPPED,))
    listing.begin([spoilt, spoilt])  # training and validation may use one split
    with (tmp_path / "clipped.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [["pets train", *CLIPPED]]
    assert f"1 boxes clipped to their images: see {tmp_path}/clipped.csv" in capsys.readouterr().out
    listing.begin([clean])  # a new start in the same folder
    assert not (tmp_path / "clipped.csv").exists()


def test_inspect_lists_them_too(tmp_path, capsys):
    labelled.images(tmp_path / "data")
    rows = ["a.jpg,30,5,42,20,cat", "b.jpg,2,3,22,18,cat", "c.jpg,2,3,22,18,cat"]
    labelled.write(tmp_path, "data/labels.csv", "\n".join(rows))
    arguments = [str(tmp_path / "data"), "--split", "train", "--out", str(tmp_path / "out")]
    inspect.main([*arguments, "--on-bad-data", "clip", "--images", "1"])
    split = "train" if "labels.csv line 1" in capsys.readouterr().out else "val"
    inspect.main([*arguments[:2], split, *arguments[3:], "--on-bad-data", "clip", "--images", "1"])
    line = "labels.csv line 1: clipped to the 40x30 image: x1 30, y1 5, x2 42, y2 20"
    for text in (capsys.readouterr().out, (tmp_path / "out/report.txt").read_text()):
        assert "1 boxes clipped to their images" in text and line in text
