"""Checkpoints: what was saved comes back, the oldest go, and what is torn is told and not used."""

import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from frcnn.errors import RunError
from frcnn.runs import checkpoints

ARRAYS = {
    "model/0000/conv/kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "seed": np.uint32([7, 0]),
}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def save(folder, epoch=0, step=1, keep=9, **state):
    return checkpoints.save(folder, epoch, step, ARRAYS, state, keep)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_arrays_and_state_come_back_bit_for_bit(folder):
    state = {"mean": 0.1 + 0.2, "bad": float("inf"), "place": [3, 4]}
    path = save(folder, 2, 30, **state)
    found, faults = checkpoints.read_newest(folder)
    assert (found.path, found.state, faults) == (path, state, {})
    assert found.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)


def test_the_newest_is_that_of_the_last_step_however_many_digits(folder):
    for epoch, step in ((0, 99_999_999), (1, 5), (1, 100_000_000), (10_000, 100_000_000)):
        path = save(folder, epoch, step)
        assert checkpoints.read_newest(folder)[0].path == path


def test_only_the_newest_are_kept(folder):
    for step in (1, 2, 3, 4):
        save(folder, 0, step, keep=2)
    assert names(folder) == ["epoch-0000-step-00000003", "epoch-0000-step-00000004"]


def test_a_checkpoint_of_the_same_step_is_replaced(folder):
    save(folder, 0, 1, which="old")
    save(folder, 0, 1, which="new")
    assert names(folder) == ["epoch-0000-step-00000001"]
    assert checkpoints.read_newest(folder)[0].state == {"which": "new"}


def test_where_none_was_written_there_is_none(folder):
    assert checkpoints.read_newest(folder) == (None, {})


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["variables.npz", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("damage", [cut, flip, os.remove, lambda path: path.write_bytes(b"")])
def test_a_damaged_one_is_named_and_the_one_before_it_used(folder, file, damage):
    sound, torn = save(folder, 0, 1), save(folder, 0, 2)
    damage(torn / file)
    found, faults = checkpoints.read_newest(folder)
    assert found.path == sound and list(faults) == [torn]
    assert file in faults[torn] or "SHA256SUMS" in faults[torn] or "unpack" in faults[torn]

    aside = checkpoints.set_aside(torn)
    assert aside.is_dir() and checkpoints.read_newest(folder)[1] == {}
    save(folder, 0, 2, keep=1)
    assert names(folder) == [aside.name, "epoch-0000-step-00000002"]


def test_when_all_are_damaged_nothing_is_begun_afresh(folder):
    for step in (1, 2):
        cut(save(folder, 0, step) / "variables.npz")
    with pytest.raises(RunError, match="all checkpoints in .* are damaged") as error:
        checkpoints.read_newest(folder)
    assert "step-00000001: variables.npz has changed" in str(error.value)
    assert "step-00000002: variables.npz has changed" in str(error.value)


def test_sha256sum_agrees(folder):
    path = save(folder)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=path, check=True)


def test_what_a_killed_process_left_is_no_checkpoint_and_goes(folder):
    save(folder, 0, 1)
    (folder / "part-epoch-0000-step-00000002").mkdir()
    (folder / "part-epoch-0000-step-00000002" / "variables.npz").write_bytes(b"half")
    assert checkpoints.read_newest(folder)[0].path.name == "epoch-0000-step-00000001"
    save(folder, 0, 3)
    assert names(folder) == ["epoch-0000-step-00000001", "epoch-0000-step-00000003"]


def test_a_disk_that_fills_up_leaves_the_older_ones_and_no_part(folder, monkeypatch):
    save(folder, 0, 1)

    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save(folder, 0, 2, keep=1)
    assert names(folder) == ["epoch-0000-step-00000001"]
    assert checkpoints.read_newest(folder)[0].arrays.keys() == ARRAYS.keys()


@pytest.mark.parametrize("copy", ["epoch-0001-step-00000007.bak", "epoch-0001-step-00000007 copy"])
def test_a_copied_checkpoint_is_left_alone_and_not_used(folder, copy):
    path = save(folder, 1, 7)
    shutil.copytree(path, folder / copy)
    (folder / "epoch-0002-step-00000009").touch()  # no folder
    assert checkpoints.read_newest(folder)[0].path == path
    newer = save(folder, 1, 8, keep=1)
    assert names(folder) == sorted([copy, "epoch-0002-step-00000009", newer.name])


class Killed(BaseException):
    """Stands for the end of the process: nothing handles it."""


@pytest.mark.parametrize("moment", range(20))
@pytest.mark.parametrize("step", [7, 8])  # in the place of the one that is there, and after it
def test_whenever_it_is_killed_a_whole_one_is_there(folder, monkeypatch, moment, step):
    """One is kept; the process ends before the n-th change of a name or deletion."""
    save(folder, 1, 7, keep=1, number=1)
    calls = []

    def counted(original):
        def call(*arguments, **options):
            if len(calls) == moment:
                raise Killed
            calls.append(original)
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((pathlib.Path, "rename"), (os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            save(folder, 1, step, keep=1, number=2)
        except Killed:
            pass
        else:
            assert moment > 2  # all moments were tried
    found, faults = checkpoints.read_newest(folder)
    assert faults == {} and found.state["number"] in (1, 2)
    path = save(folder, 1, 9, keep=1)
    assert names(folder) == [path.name]


def test_further_files_are_held_and_summed(folder):
    path = checkpoints.save(folder, 0, 1, ARRAYS, {}, 1, {"config.json": "{}"})
    assert (path / "config.json").read_text() == "{}" and checkpoints.find_fault(path) is None
    (path / "config.json").write_text("{ }")
    assert "config.json has changed" in checkpoints.find_fault(path)


def test_each_corrupt_one_is_kept(folder):
    asides = []
    for _ in range(3):
        asides.append(checkpoints.set_aside(save(folder, 0, 1)))
    assert len(set(asides)) == 3 and all((aside / "state.json").is_file() for aside in asides)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_with_numbers_that_are_not_finite_is_named_and_the_one_before_used(folder, bad):
    sound = save(folder, 0, 1)
    arrays = ARRAYS | {"model/0001/norm/moving_mean": np.float32([0.0, bad])}
    spoilt = checkpoints.save(folder, 0, 2, arrays, {}, 9)
    found, faults = checkpoints.read_newest(folder)
    assert found.path == sound
    assert faults == {spoilt: "there is NaN or infinity in model/0001/norm/moving_mean"}
