"""A run's folder: one process at a time, faults of the disk in one line, differences by name."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from frcnn import run_folder
from frcnn.config import Config
from frcnn.errors import RunError

HOLD = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[2])
from frcnn import run_folder
with run_folder.claimed(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(run):
    """Start a process that claims a folder, and wait until it has."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run), root], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    process = hold(tmp_path / "run")
    try:
        with pytest.raises(RunError, match=f"process {process.pid} on .* is training in .*run"):
            with run_folder.claimed(tmp_path / "run"):
                pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.1)
    with run_folder.claimed(tmp_path / "run"):  # a killed process holds nothing
        pass
    with run_folder.claimed(tmp_path / "run"):  # nor does one that is done
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot write to the run folder .*run: Permission denied"):
        with run_folder.claimed(tmp_path / "run"):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write to the run folder .*run: Not a directory"):
        with run_folder.claimed(tmp_path / "file" / "run"):
            pass


def test_faults_of_the_disk_are_one_line(tmp_path):
    with pytest.raises(RunError) as error:
        with run_folder.writing(tmp_path):
            raise OSError(28, "No space left on device")
    assert str(error.value) == f"cannot write to the run folder {tmp_path}: No space left on device"


def test_differences_are_listed_by_key_and_by_whether_they_may_change_the_weights():
    before = Config()
    values = {"train.epochs": 99, "anchors.sizes": "8,16", "data.workers": 7, "checkpoint.keep": 9}
    after = before.replace(values)
    assert run_folder.differences(before, before) == ([], [])
    assert run_folder.differences(before, after) == (
        [
            "anchors.sizes: (128.0, 256.0, 512.0) -> (8.0, 16.0)",
            f"train.epochs: {before.train.epochs} -> 99",
        ],
        ["data.workers: 2 -> 7", "checkpoint.keep: 2 -> 9"],
    )


def test_what_was_asked_and_what_was_made_of_it_lie_apart(tmp_path):
    assert run_folder.read_config(tmp_path) is None and run_folder.read_asked(tmp_path) == {}
    asked = {"train.epochs": 3, "anchors.sizes": (8.0, 16.0)}
    config = Config().replace(asked | {"model.preprocessing": "torch"})
    run_folder.write_config(tmp_path, asked, config)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "train": {"epochs": 3},
        "anchors": {"sizes": [8.0, 16.0]},
    }
    assert run_folder.read_config(tmp_path) == config and run_folder.read_asked(tmp_path) == asked
    run_folder.write_config(tmp_path, {}, Config(), keep_as="until-step-7")
    assert json.loads((tmp_path / "config-until-step-7.json").read_text())["train"] == {"epochs": 3}
    assert (tmp_path / "resolved-until-step-7.json").read_text() == config.to_json()
    assert run_folder.read_config(tmp_path) == Config()


def test_a_run_of_an_earlier_version_has_all_in_one_file(tmp_path):
    config = Config().replace({"train.epochs": 3, "data.classes": "cat,dog"})
    (tmp_path / "config.json").write_text(config.to_json(), encoding="utf-8-sig")  # and a mark
    assert run_folder.read_config(tmp_path) == config
    assert run_folder.read_asked(tmp_path)["data.classes"] == ("cat", "dog")


def test_steps_left_out_are_forgotten_with_what_came_after(tmp_path):
    for step in (3, 5, 8):
        run_folder.record_nonfinite(tmp_path, step, ["a", "b"], {"total_loss": float("nan")})
    path = tmp_path / run_folder.NONFINITE
    first, second, _ = path.read_text().splitlines(keepends=True)
    assert first == '{"step": 3, "images": ["a", "b"], "scalars": {"total_loss": "nan"}}\n'
    path.write_text(path.read_text() + '{"step": 4, "im')  # killed while it wrote
    run_folder.rewind(tmp_path, 5, 0)
    assert path.read_text() == first + second
