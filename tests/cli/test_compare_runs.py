"""``frcnn compare``: the tables in the console, the page, and what is refused."""

import pytest

from frcnn.cli import common, compare
from frcnn.config.presets import preset
from frcnn.runs import metrics_csv, run_directory


@pytest.fixture
def folders(tmp_path):
    for name, seed, mean_ap in (("one", 0, 0.25), ("two", 3, 0.5)):
        (tmp_path / name).mkdir()
        changes = {"data.classes": ("cat",), "train.seed": seed}
        run_directory.write_config(tmp_path / name, {}, preset("shapes").replace(changes))
        metrics_csv.append_row(tmp_path / name / "metrics.csv", {"epoch": 1, "step": 4, "mAP": mean_ap})
    return [str(tmp_path / name) for name in ("one", "two")]


def test_tables_and_page(folders, tmp_path, capsys):
    page = tmp_path / "page.html"
    compare.main([*folders, "--report", str(page)])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["score", "one", "two"] in rows and ["best", "mAP", "0.2500", "0.5000"] in rows
    assert ["train.seed", "0", "3"] in rows
    assert "0.2500" in page.read_text()


@pytest.mark.parametrize(
    "line, says",
    [
        ("ONE", "give two runs or more"),
        ("ONE ONE", "is given twice"),
        ("ONE nothing", "nothing is not a training run"),
        ("ONE TWO --report there.html", "there.html exists already"),
        ("ONE TWO --images", "no VOC"),
    ],
)
def test_what_is_wrong_is_one_line(folders, line, says, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.html").touch()
    for folder in folders:
        config = run_directory.read_config(tmp_path / folder)
        changed = config.replace({"data.dataset": "voc", "data.dir": "nowhere"})
        run_directory.write_config(tmp_path / folder, {}, changed)
    arguments = line.replace("ONE", folders[0]).replace("TWO", folders[1]).split()
    with pytest.raises(SystemExit) as caught:
        common.run(lambda: compare.main(arguments))
    assert caught.value.code == 2
    (error,) = capfd.readouterr().err.splitlines()
    assert error.startswith("error: ") and says in error
