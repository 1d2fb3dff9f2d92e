"""A TensorBoard run taken back to a step: what was written until then stays, bit for bit."""

import os
import struct

import pytest
from interrupted_runs import events

from frcnn.logging import RunLogger, event_files

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
    whole = path.read_bytes()
    os.truncate(path, len(whole) - lost)
    assert event_files.rewind(run, 9) == []
    ends = record_ends(whole)
    assert path.stat().st_size == max(end for end in ends if end <= len(whole) - lost)
    assert len(list(run.iterdir())) == 1  # a killed process is no damage
    assert [step for step, _ in events(run)["a"]] == [1, 2]


def record_ends(data):
    """Return where the records of an undamaged file end."""
    ends = [0]
    while ends[-1] < len(data):
        (length,) = struct.unpack_from("<Q", data, ends[-1])
        ends.append(ends[-1] + 16 + length)
    return ends


# A record is a length of 8 bytes, its checksum of 4, the event, its checksum of 4.
@pytest.mark.parametrize("place", ["length", "length's checksum", "event", "event's checksum"])
def test_a_flipped_bit_costs_its_record_and_the_damaged_file_is_kept(tmp_path, place):
    run = write(tmp_path, [1, 2, 3, 4])
    (path,) = run.iterdir()
    data = bytearray(path.read_bytes())
    ends = record_ends(data)
    third, after = ends[3], ends[4]  # after the version, a and b of step 1: a of step 2
    at = {"length": third + 2, "length's checksum": third + 9, "event": third + 20}
    data[at.get(place, after - 1)] ^= 4
    path.write_bytes(data)
    (said,) = event_files.rewind(run, 3)
    assert f"{path} is damaged at byte {third}: a copy is kept as " in said
    assert "; 3 records after the damage" in said  # b of step 2, a and b of step 3
    assert len(list(event_files.whole_records(data, 0, 3))) == 6
    found = events(run)
    assert [step for step, _ in found["a"]] == [1, 3]
    assert [step for step, _ in found["b"]] == [1, 2, 3]
    (aside,) = (other for other in run.iterdir() if other != path)
    assert aside.name in said and aside.name.endswith(".damaged") and "tfevents" not in aside.name
    assert aside.read_bytes() == data
    assert event_files.rewind(run, 3) == []  # what is left is sound


@pytest.mark.parametrize("tail", [b"\0" * 3000, (8).to_bytes(8, "little") + b"\xff" * 40])
def test_rubbish_at_the_end_is_cut_off_and_kept_beside(tmp_path, tail):
    run = write(tmp_path, [1, 2])
    (path,) = run.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    (said,) = event_files.rewind(run, 9)
    assert path.read_bytes() == whole and f"damaged at byte {len(whole)}" in said


def test_damage_after_the_step_is_cut_off_like_all_that_is_written_anew(tmp_path):
    run = write(tmp_path, [1, 2, 3])
    (path,) = run.iterdir()
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    assert event_files.rewind(run, 2) == []
    assert steps_in(run) == [1, 2]


def test_files_that_are_set_aside_are_not_shown(tmp_path):
    run = write(tmp_path, [1, 2])
    (path,) = run.iterdir()
    data = path.read_bytes()
    (name,) = event_files.set_aside(run)
    assert (run / name).read_bytes() == data
    assert events(run) == {}


def test_a_run_that_never_began_is_no_error(tmp_path):
    event_files.rewind(tmp_path / "train", 3)
