"""The run directory: one process at a time, faults of the disk in one line, differences by name."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import pytest

from frcnn.config import in_weights
from frcnn.config.schema import Config
from frcnn.errors import ConfigError, FrcnnError, RunError
from frcnn.files import file_lock
from frcnn.runs import checkpoints, nonfinite_log, preflight, run_directory

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOLD = """
import fcntl, pathlib, sys, time
sys.path.insert(0, sys.argv[2])
from frcnn.files import file_lock
from frcnn.runs import run_directory
if sys.argv[3]:  # what the system says where there is no flock
    def flock(*_):
        raise OSError(int(sys.argv[3]), "no flock")
    fcntl.flock = flock
    file_lock.LEASE_SECONDS, file_lock.socket.gethostname = 2.0, lambda: "node7"
with run_directory.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(run, flock_error=""):
    """Start a process that claims a folder, and wait until it has."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run), ROOT, str(flock_error)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_the_folder(tmp_path):
    process = hold(tmp_path / "run")
    try:
        with pytest.raises(RunError, match=f"process {process.pid} on .* is already training in .*run"):
            with run_directory.lock(tmp_path / "run"):
                pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.1)
    with run_directory.lock(tmp_path / "run"):  # a killed process holds nothing
        pass
    with run_directory.lock(tmp_path / "run"):  # nor does one that is done
        pass


def without_flock(monkeypatch, number=errno.ENOSYS):
    """Have the file system be one without flock, and a lease be short."""

    def flock(*_):
        raise OSError(number, "no flock")

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(file_lock, "LEASE_SECONDS", 2.0)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_flock_there_is_a_lease(tmp_path, monkeypatch, number):
    without_flock(monkeypatch, number)
    for _ in range(2):
        with run_directory.lock(tmp_path):
            assert (tmp_path / ".lock-lease").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_without_flock_a_process_holds_the_folder_until_it_is_killed(tmp_path, monkeypatch, capsys):
    """Seen from another machine, which cannot tell whether the process lives but by the lease."""
    without_flock(monkeypatch)
    monkeypatch.setattr("filelock._lease.owner_is_stale", lambda *_: False)
    process = hold(tmp_path / "run", errno.ENOSYS)
    holder = f"process {process.pid} on node7, since"
    try:
        with pytest.raises(RunError, match=f"{holder} .* is already training in .*run; if it is dead"):
            with run_directory.lock(tmp_path / "run"):
                pass
    finally:
        process.kill()
        process.wait()
    assert f"is held by {holder}" in capsys.readouterr().out
    with run_directory.lock(tmp_path / "run"):
        assert f"is held by {holder}" in capsys.readouterr().out
        assert str(os.getpid()) in (tmp_path / "run" / ".lock-owner").read_text()


def test_a_process_that_lost_its_folder_to_another_writes_no_more(tmp_path, monkeypatch):
    with run_directory.lock(tmp_path):
        with run_directory.writing(tmp_path):
            pass
        monkeypatch.setattr(file_lock.FileLock, "is_lost", True)
        with pytest.raises(RunError, match="another process has taken over"):
            with run_directory.writing(tmp_path):
                raise AssertionError("not to be reached")


def test_a_disk_that_takes_no_more_does_not_hide_what_ended_the_run(tmp_path, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with pytest.raises(RunError, match="cannot write to the run directory .*: Read-only file system"):
        with run_directory.lock(tmp_path):
            monkeypatch.setattr(os, "unlink", read_only)
            with run_directory.writing(tmp_path):
                read_only()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot write to the run directory .*run: Permission denied"):
        with run_directory.lock(tmp_path / "run"):
            pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write to the run directory .*run: Not a directory"):
        with run_directory.lock(tmp_path / "file" / "run"):
            pass


def test_faults_of_the_disk_are_one_line(tmp_path):
    with pytest.raises(RunError) as error:
        with run_directory.writing(tmp_path):
            raise OSError(28, "No space left on device")
    assert str(error.value) == f"cannot write to the run directory {tmp_path}: No space left on device"


def test_settings_that_a_run_s_config_lacks_are_what_its_version_did(tmp_path):
    values = json.loads(Config().to_json())
    del values["optimizer"]["bias_lr_factor"], values["train"]["best_weights"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = run_directory.read_config(tmp_path)
    assert (config.optimizer.bias_lr_factor, config.train.best_weights) == (1.0, "mAP")
    (tmp_path / "config.json").write_text(Config().to_json())
    assert run_directory.read_config(tmp_path) == Config()


def test_differences_are_listed_by_key_and_by_whether_they_may_change_the_weights():
    before = Config()
    values = {
        "train.epochs": 99,
        "anchors.sizes": "8,16",
        "data.loader_threads": 7,
        "checkpoint.keep": 9,
    }
    after = before.replace(values)
    assert run_directory.differences(before, before) == ([], [])
    assert run_directory.differences(before, after) == (
        [
            "anchors.sizes: (128.0, 256.0, 512.0) -> (8.0, 16.0)",
            f"train.epochs: {before.train.epochs} -> 99",
        ],
        ["data.loader_threads: 2 -> 7", "checkpoint.keep: 2 -> 9"],
    )


def test_what_was_asked_and_what_was_made_of_it_lie_apart(tmp_path):
    assert run_directory.read_config(tmp_path) is None and run_directory.read_asked(tmp_path) == {}
    asked = {"train.epochs": 3, "anchors.sizes": (8.0, 16.0)}
    config = Config().replace(asked | {"model.preprocessing": "torch"})
    run_directory.write_config(tmp_path, asked, config)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "train": {"epochs": 3},
        "anchors": {"sizes": [8.0, 16.0]},
    }
    assert run_directory.read_config(tmp_path) == config and run_directory.read_asked(tmp_path) == asked
    run_directory.write_config(tmp_path, {}, Config(), keep_as="until-step-7")
    assert json.loads((tmp_path / "config-until-step-7.json").read_text())["train"] == {"epochs": 3}
    assert (tmp_path / "resolved-until-step-7.json").read_text() == config.to_json()
    assert run_directory.read_config(tmp_path) == Config()


def test_a_run_of_an_earlier_version_has_all_in_one_file(tmp_path):
    config = Config().replace({"train.epochs": 3, "data.classes": "cat,dog"})
    (tmp_path / "config.json").write_text(config.to_json(), encoding="utf-8-sig")  # and a mark
    assert run_directory.read_config(tmp_path) == config
    assert run_directory.read_asked(tmp_path)["data.classes"] == ("cat", "dog")


def test_steps_left_out_are_forgotten_with_what_came_after(tmp_path):
    for step in (3, 5, 8):
        nonfinite_log.append(
            tmp_path / run_directory.NONFINITE, step, ["a", "b"], {"total_loss": float("nan")}
        )
    path = tmp_path / run_directory.NONFINITE
    first, second, _ = path.read_text().splitlines(keepends=True)
    assert first == '{"step": 3, "images": ["a", "b"], "scalars": {"total_loss": "nan"}}\n'
    path.write_text(path.read_text() + '{"step": 4, "im')  # killed while it wrote
    run_directory.rewind(tmp_path, 5, 0)
    assert path.read_text() == first + second


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"step": "one"}', '{"images": []}', "\udcff\udcfe", "[" * 99999]
)
def test_damaged_lines_of_steps_left_out_are_kept_beside(tmp_path, line):
    for step in (3, 8):
        nonfinite_log.append(tmp_path / run_directory.NONFINITE, step, ["a"], {})
    path = tmp_path / run_directory.NONFINITE
    first = path.read_text().splitlines(keepends=True)[0]
    content = f"{line}\n{path.read_text()}".encode("utf-8", "surrogateescape")
    path.write_bytes(content)
    (said,) = run_directory.rewind(tmp_path, 5, 0)
    assert path.read_text() == first
    assert (tmp_path / "nonfinite.jsonl.damaged").read_bytes() == content
    assert "1 lines that cannot be read" in said and "nonfinite.jsonl.damaged" in said


# What lies in the folder before a run begins.


def put(run, *names):
    """Make files below a folder."""
    for name in names:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("precious\nprecious\n")


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "train/events.out.tfevents.1.host",
        "validation/x/y",
        "metrics.csv",
        "skipped.csv",
        "nonfinite.jsonl",
    ]
    + ["best.weights.h5", "last.weights.h5", "checkpoints/mine"],
)
def test_files_of_others_are_in_the_way(tmp_path, name, resume):
    put(tmp_path, name)
    before = content(tmp_path)
    with pytest.raises(RunError, match=f"{name.split('/')[0]}|has checkpoints") as error:
        preflight.check(tmp_path, resume)
    assert "\n" not in str(error.value) and content(tmp_path) == before


def test_a_folder_without_anything_that_a_run_writes_will_do(tmp_path):
    put(tmp_path, "slurm-17.out", "notes.txt", ".lock", "workers/1.log")
    (tmp_path / "train").mkdir()
    for run in (tmp_path, tmp_path / "missing"):
        for resume in (False, True):
            preflight.check(run, resume)


def test_a_folder_with_a_run_needs_resume(tmp_path):
    run_directory.write_config(tmp_path, {}, Config())
    with pytest.raises(ConfigError, match="already holds a run"):
        preflight.check(tmp_path, False)


def save_checkpoint(run, **options):
    return checkpoints.save(run / "checkpoints", 0, 3, {}, {}, 2, **options)


def test_a_run_killed_before_its_first_checkpoint_may_start_afresh(tmp_path):
    run_directory.write_config(tmp_path, {}, Config())
    put(tmp_path, "train/events.out.tfevents.1.host", "nonfinite.jsonl", "skipped.csv")
    put(tmp_path, "checkpoints/part-epoch-0000-step-00000001/variables.npz")
    (tmp_path / "metrics.csv").write_text("epoch,step\n")
    preflight.check(tmp_path, True)
    logs = content(tmp_path / "train")
    first, second = run_directory.set_aside_logs(tmp_path)
    assert "kept as events.out.earlier.1.host" in first and "nonfinite.jsonl.earlier" in second
    assert list(content(tmp_path / "train").values()) == list(logs.values())


@pytest.mark.parametrize("name", ["last.weights.h5", "best.weights.h5", "metrics.csv"])
def test_a_run_that_lost_its_checkpoints_does_not_start_afresh(tmp_path, name):
    run_directory.write_config(tmp_path, {}, Config())
    put(tmp_path, name, "train/events.out.tfevents.1.host")
    before = content(tmp_path)
    with pytest.raises(
        RunError, match="without a checkpoint to resume from: restore .*checkpoints; .*--out"
    ):
        preflight.check(tmp_path, True)
    save_checkpoint(tmp_path)
    preflight.check(tmp_path, True)
    shutil.rmtree(tmp_path / "checkpoints")
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["epoch-0001-step-00000007.bak", "corrupt-epoch-0001-step-00000007"])
def test_checkpoints_under_other_names_are_named(tmp_path, name):
    run_directory.write_config(tmp_path, {}, Config())
    put(tmp_path, f"checkpoints/{name}/state.json")
    with pytest.raises(RunError, match=f"checkpoints/{name}"):
        preflight.check(tmp_path, True)


@pytest.mark.parametrize(
    "lost", [["config.json"], ["resolved.json"], ["config.json", "resolved.json"]], ids=str
)
def test_a_lost_config_can_be_put_back_from_the_checkpoint(tmp_path, lost):
    run, asked = tmp_path / "the run", {"train.epochs": 7}
    config = Config().replace(asked | {"model.preprocessing": "torch"})
    run.mkdir()
    run_directory.write_config(run, asked, config)
    save_checkpoint(run, texts=run_directory.config_texts(run))
    for name in lost:
        (run / name).unlink()
    said = f"has checkpoints, but no {' and no '.join(lost)}: restore it with `(.*)`"
    with pytest.raises(RunError, match=said) as error:
        preflight.check(run, True)
    subprocess.run(str(error.value).split("`")[1], shell=True, check=True)
    preflight.check(run, True)
    assert run_directory.read_config(run) == config and run_directory.read_asked(run) == asked


def test_a_config_that_an_earlier_version_lost_can_be_put_back_from_its_weights(small_config, tmp_path):
    save_checkpoint(tmp_path)
    with pytest.raises(RunError, match="but no config.json: restore it from a copy"):
        preflight.check(tmp_path, True)
    with h5py.File(tmp_path / "last.weights.h5", "w") as file:
        file.attrs[in_weights.ATTRIBUTE] = small_config.to_json()
    with pytest.raises(RunError, match="but no config.json: restore it with `python -c") as error:
        preflight.check(tmp_path, True)
    command = str(error.value).split("`")[1].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=ROOT)
    preflight.check(tmp_path, True)
    assert run_directory.read_config(tmp_path) == small_config


@pytest.mark.parametrize("name", ["config.json", "resolved.json"])
@pytest.mark.parametrize("text", ["", "{", "\0\0\0\0", '{"train": {"epochs": "many"}}'])
def test_a_damaged_config_is_an_error_that_says_how_to_put_it_back(tmp_path, text, name):
    run_directory.write_config(tmp_path, {}, Config())
    save_checkpoint(tmp_path, texts=run_directory.config_texts(tmp_path))
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{name}.*restore it with `cp .*{name}"):
        run_directory.read_config(tmp_path)
        run_directory.read_asked(tmp_path)


def test_a_config_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(FrcnnError, match="cannot read the config file .*config.json"):
        run_directory.read_config(tmp_path)


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    run = tmp_path / ("x" * 300)
    for ask in (run_directory.read_config, lambda path: preflight.check(path, True)):
        with pytest.raises(RunError, match="File name too long"):
            ask(run)


# Symbolic links.


@pytest.mark.parametrize(
    "name",
    [
        "train/events.out.tfevents.1.host",
        "train",
        ".lock",
        ".lock-owner",
        "part-config.json",
        "config.json",
    ]
    + [
        "metrics.csv",
        "last.weights.h5",
        "part-best.weights.h5",
        "checkpoints",
        "workers",
        "workers/1.log",
    ]
    + ["checkpoints/epoch-0001-step-00000007", "checkpoints/epoch-0001-step-00000007/state.json"],
)
def test_a_link_is_refused_and_what_it_leads_to_stays(tmp_path, name):
    run, outside = tmp_path / "run", tmp_path / "outside"
    put(outside, "events.out.tfevents.1.host", "epoch-0001-step-00000007/state.json", "1.log")
    target = outside if "." not in name else outside / "1.log"
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    (run / name).symlink_to(target)
    before = content(outside)
    with pytest.raises(RunError, match=f"{run / name} is a symbolic link to {target}"):
        with run_directory.lock(run):
            pass
    assert content(outside) == before


def test_the_run_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with run_directory.lock(tmp_path / "run"):
        pass


def test_other_links_in_the_folder_are_nobodys_business(tmp_path):
    (tmp_path / "data").symlink_to(tmp_path)
    with run_directory.lock(tmp_path):
        pass
