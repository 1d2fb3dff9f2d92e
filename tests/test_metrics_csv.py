import csv

import numpy as np
import pytest

from frcnn.errors import FrcnnError
from frcnn.metrics_csv import append_row, drop_after


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_first_row_brings_the_header_and_later_ones_follow_it(tmp_path):
    path = tmp_path / "metrics.csv"
    append_row(path, {"epoch": 1, "mAP": 0.25, "AP/dining table, round": None})
    append_row(path, {"mAP": 0.5, "AP/dining table, round": 1.0, "epoch": 2})
    assert path.read_text().splitlines() == [
        'epoch,mAP,"AP/dining table, round"',
        "1,0.25,",
        "2,0.5,1.0",
    ]


@pytest.mark.parametrize("value", [0.1 + 0.2, np.float64(1 / 3), np.float32(0.1), float("nan")])
def test_numbers_read_back_as_they_were(tmp_path, value):
    append_row(tmp_path / "metrics.csv", {"loss": value})
    np.testing.assert_equal(type(value)(rows(tmp_path / "metrics.csv")[0]["loss"]), value)


def test_other_columns_are_an_error_and_leave_the_file_alone(tmp_path):
    path = tmp_path / "metrics.csv"
    append_row(path, {"epoch": 1, "AP/cat": 0.5})
    before = path.read_bytes()
    with pytest.raises(FrcnnError, match=r"metrics\.csv .*lacks \['AP/cat'\].*brings \['AP/dog'\]"):
        append_row(path, {"epoch": 2, "AP/dog": 0.5})
    assert path.read_bytes() == before


def test_a_half_written_row_is_not_added_to(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,mAP\n1,0.2")
    append_row(path, {"epoch": 2, "mAP": 0.3})
    assert path.read_text() == "epoch,mAP\n1,0.2\n2,0.3\n"


def test_rows_of_later_steps_and_half_rows_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,mAP\n1,4,\n2,8,0.5\n3,12,0.6\n4,1")
    drop_after(path, 8)
    assert path.read_text() == "epoch,step,mAP\n1,4,\n2,8,0.5\n"
    drop_after(path, 0)
    drop_after(path, 0)  # of no file, too
    append_row(path, {"epoch": 1, "step": 4, "mAP": 0.1})
    assert path.read_text() == "epoch,step,mAP\n1,4,0.1\n"
