"""A TensorBoard run taken back to a step: what was written until then stays, bit for bit."""

import os

import pytest
from interrupted_runs import events

from frcnn import event_files
from frcnn.logging import RunLogger

TAGS = ("a", "b")


def write(folder, steps):
    with RunLogger(folder, {}, TAGS) as logger:
        for step in steps:
            logger.write("train", step, {"a": step / 3, "b": -step})
    return folder / "train"


def steps_in(folder):
    found = events(folder)
    assert [step for step, _ in found["a"]] == [step for step, _ in found["b"]]
    assert all(value == pytest.approx(step / 3) for step, value in found["a"])
    return [step for step, _ in found["a"]]


@pytest.mark.parametrize("step, left", [(9, [1, 4, 9]), (8, [1, 4]), (100, [1, 4, 9, 12]), (1, [1])])
def test_later_steps_are_gone_and_earlier_ones_stay(tmp_path, step, left):
    run = write(tmp_path, [1, 4, 9, 12])
    event_files.rewind(run, step)
    assert steps_in(run) == left
    size = os.path.getsize(next(run.iterdir()))
    event_files.rewind(run, step)  # again changes nothing
    assert os.path.getsize(next(run.iterdir())) == size


def test_all_files_of_a_run_are_taken_back(tmp_path):
    write(tmp_path, [1, 2, 3])
    run = write(tmp_path, [2, 3, 4])
    assert len(list(run.iterdir())) == 2
    event_files.rewind(run, 2)
    write(tmp_path, [3])
    assert sorted(steps_in(run)) == [1, 2, 2, 3]


@pytest.mark.parametrize("lost", [1, 5, 30, 45])
def test_a_half_record_is_cut_off_and_the_file_can_be_read(tmp_path, lost):
    run = write(tmp_path, [1, 2])
    (path,) = run.iterdir()
    os.truncate(path, path.stat().st_size - lost)
    event_files.rewind(run, 9)
    content = path.read_bytes()
    assert event_files.end_of(content, 9) == len(content)
    assert [step for step, _ in events(run)["a"]] == [1, 2]


def test_rubbish_ends_what_is_kept(tmp_path):
    run = write(tmp_path, [1, 2])
    (path,) = run.iterdir()
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + (8).to_bytes(8, "little") + b"\xff" * 40)
    event_files.rewind(run, 9)
    assert path.stat().st_size == size


def test_a_run_that_never_began_is_no_error(tmp_path):
    event_files.rewind(tmp_path / "train", 3)
