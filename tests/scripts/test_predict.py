"""``predict.py`` as a user calls it, with a detector that always finds the same."""

import numpy as np
import pytest
from PIL import Image
from support import load_script

from frcnn.cli import common
from frcnn.detector import Detector


class Finds:
    """Stands in for a ``Detector``: one box in every image, of a class that not every console knows."""

    classes = ("\u732b",)

    def predict(self, images):
        found = {"boxes": np.array([[1, 1, 9, 9]], "float32"), "scores": np.array([0.9]), "labels": [0]}
        return [{key: np.asarray(value) for key, value in found.items()} for _ in images]


@pytest.fixture
def predict(tmp_path, monkeypatch):
    """Return a function from a command line to the exit status; it runs in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Detector, "load", lambda *_: Finds())
    (tmp_path / "run").mkdir()
    script = load_script("predict")

    def run(line):
        with pytest.raises(SystemExit) as caught:
            common.run(lambda: script.main(line.split()))
        return caught.value.code

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
        ("run p.png --score nan", "--score must be a number from 0 to 1, not nan"),
        ("run p.png --score 1.5", "--score must be a number from 0 to 1, not 1.5"),
        ("run p.png --score high", "--score must be a number from 0 to 1, not high"),
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
