"""``predict.py`` as a user calls it, with a detector that always finds the same."""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from PIL import Image
from prediction.fakes import Finds
from support import load_script

from frcnn.cli import common
from frcnn.detector import Detector


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Return a function from a command line to the exit status; it runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Detector, "load", lambda *loaded: given.append(loaded) or Finds())
    (tmp_path / "run").mkdir()
    script, given = load_script("predict"), []

    def run(line):
        with pytest.raises(SystemExit) as caught:
            common.run(lambda: script.main(shlex.split(line)))
        return caught.value.code

    run.given = given
    return run


def photo(path, grey=100):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (40, 30), (grey, grey, grey)).save(path)
    return path.read_bytes()


def test_images_of_one_name_have_a_picture_each(predict, tmp_path, capsys):
    for name, grey in (("x/p.jpg", 10), ("y/p.jpg", 100), ("x/p.png", 200)):
        photo(tmp_path / name, grey)
    for _ in range(2):  # the second time in the place of the first
        assert predict("run x/p.jpg y/p.jpg x/p.png --out o") == 0
        assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [
            "p-2.png",
            "p-3.png",
            "p.png",
        ]
    corners = [Image.open(tmp_path / "o" / name).getpixel((590, 440)) for name in ("p.png", "p-2.png")]
    assert [round(corner[0], -1) for corner in corners] == [10, 100]
    assert "x/p.png -> o/p-3.png" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_work_after_the_present_image(predict, tmp_path, monkeypatch, capsys, name):
    class Signalled(Finds):
        def stream(self, images, *options):
            for number, found in enumerate(super().stream(images, *options)):
                if number == 1:
                    os.kill(os.getpid(), getattr(signal, name))
                yield found

    monkeypatch.setattr(Detector, "load", lambda *_: Signalled())
    photo(tmp_path / "x" / "a.png"), photo(tmp_path / "x" / "b.png"), photo(tmp_path / "x" / "c.png")
    assert predict("run x --save jsonl,coco,drawn --out o") == 128 + getattr(signal, name)
    rows = [json.loads(line) for line in (tmp_path / "o/detections.jsonl").read_text().splitlines()]
    assert [row["image"] for row in rows] == ["x/a.png", "x/b.png"]
    assert len(json.loads((tmp_path / "o/coco_results.json").read_text())) == 2
    assert not list((tmp_path / "o").glob("part-*"))
    assert f"stopped by {name}: the files hold what was found" in capsys.readouterr().err


def test_a_photo_is_not_written_over(predict, tmp_path):
    before = photo(tmp_path / "p.png")
    assert predict("run p.png --out .") == 0
    assert (tmp_path / "p.png").read_bytes() == before and (tmp_path / "p-2.png").exists()


def test_a_bad_file_does_not_keep_the_others_from_being_looked_at(predict, tmp_path, capsys):
    photo(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    photo(tmp_path / "c.png")
    assert predict("run a.png b.png none.png c.png") == 1
    assert {path.name for path in (tmp_path / "run/predictions").iterdir()} == {"a.png", "c.png"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("skipped: ") for line in lines)
    assert "b.png" in lines[0] and "none.png" in lines[1]


@pytest.mark.parametrize(
    "line, says",
    [
        ("run p.png --score nan", "--score"),
        ("run p.png --score 1.5", "--score"),
        ("run p.png --nms-iou high", "--nms-iou"),
        ("run p.png --max-detections 0", "--max-detections"),
        ("run p.png --batch-size 0", "--batch-size must be 1 or more, not 0"),
        ("run p.png --max-frames 0", "--max-frames must be 1 or more, not 0"),
        ("run p.png --tile 3", "tile must be 32 pixels or more, not 3"),
        ("run p.png --tile 512 --overlap 1", "overlap must be from 0 to 0.9"),
        ("run p.png --save drawing", "there is no result format 'drawing', did you mean 'drawn'"),
        ("run p.png --coco-ids a.json", "--coco-ids needs --save coco"),
        ("run http://a.b/c.png", "http://a.b/c.png is a URL"),
        ("run '*.tif'", "*.tif has no image and no video"),
        ("run p.png --out p.png", "p.png is not a folder; give a folder"),
        ("run p.png --out p.png/below", "p.png is not a folder; give a folder"),
    ],
)
def test_what_is_wrong_is_one_line(predict, line, says, tmp_path, capsys):
    before = photo(tmp_path / "p.png")
    assert predict(line) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and says in error
    assert (tmp_path / "p.png").read_bytes() == before


def test_it_hides_what_tensorflow_says_at_its_start(predict, tmp_path, monkeypatch):
    """As ``train.py`` does: what is imported within ``quiet_import`` cannot greet."""
    script, quiet = load_script("predict"), []
    monkeypatch.setattr(script, "quiet_import", lambda: quiet.append(1) or common.quiet_import())
    photo(tmp_path / "p.png")
    assert script.main(["run", "p.png"]) == 0 and quiet == [1]


def test_options_change_what_is_detected_and_not_only_what_is_shown(predict, tmp_path):
    photo(tmp_path / "p.png")
    assert predict("run p.png") == 0
    line = "run p.png --score 0.3 --nms-iou 0.6 --max-detections 7 --classes 'cat, dog'"
    assert predict(f"{line} --weights last.weights.h5") == 0
    assert predict.given == [
        ("run", None, {}, 0.5),  # the default gives way to an exported file's own threshold
        (
            "run",
            "last.weights.h5",
            {
                "detection.score_threshold": 0.3,
                "detection.nms_iou": 0.6,
                "detection.max_detections": 7,
                "detection.classes": ("cat", "dog"),
            },
            0.5,
        ),
    ]


def test_a_folder_with_results_in_several_formats(predict, tmp_path, capsys):
    photo(tmp_path / "photos" / "a.png")
    photo(tmp_path / "photos" / "b.png")
    assert predict("run photos --save jsonl,voc --out o") == 0
    files = {str(path.relative_to(tmp_path / "o")) for path in (tmp_path / "o").rglob("*.*")}
    assert files == {"detections.jsonl", "voc/a.xml", "voc/b.xml"}
    assert "2 detections in 2 images" in capsys.readouterr().out.splitlines()[-1]
    assert predict("run photos --save jsonl --out o") == 2
    assert "detections.jsonl exists already" in capsys.readouterr().err
    assert predict("run photos --save jsonl --out o --overwrite") == 0


def test_the_reported_case_of_images_of_one_name(predict, tmp_path):
    case = Path(__file__).resolve().parents[3] / "shared" / "cases" / "predict-same-stem"
    if not case.is_dir():
        pytest.skip(f"there is no {case}")
    images = " ".join(f"{case}/{name}" for name in ("x/p.jpg", "y/p.jpg", "x/p.png"))
    assert predict(f"run {images} --out o") == 0
    names = ["p-2.png", "p-3.png", "p.png"]
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == names
