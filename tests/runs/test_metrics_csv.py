import csv

import numpy as np
import pytest

from frcnn.runs.metrics_csv import append_row, drop_after, has_rows


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


def test_columns_of_both_are_kept_where_they_differ(tmp_path):
    path = tmp_path / "metrics.csv"
    append_row(path, {"epoch": 1, "AP/cat": 0.5})
    append_row(path, {"epoch": 2, "AP/dog": 0.25})
    append_row(path, {"epoch": 3, "AP/dog": 0.75})
    assert path.read_text() == "epoch,AP/cat,AP/dog\n1,0.5,\n2,,0.25\n3,,0.75\n"


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


def test_a_column_that_somebody_added_costs_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,mAP,note\n1,4,0.1\n2,8,0.5,good\n3,12,0.6\n")
    assert drop_after(path, 8) == []
    assert path.read_text() == "epoch,step,mAP,note\n1,4,0.1\n2,8,0.5,good\n"
    append_row(path, {"epoch": 3, "step": 12, "mAP": 0.7})
    assert path.read_text().splitlines()[-1] == "3,12,0.7,"


def test_a_spreadsheets_byte_order_mark_and_line_ends_are_read(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"\xef\xbb\xbfepoch,step\r\n1,4\r\n2,8\r\n")
    assert drop_after(path, 4) == []
    assert path.read_text() == "epoch,step\n1,4\n"


@pytest.mark.parametrize(
    "content, left, what",
    [
        (b"epoch,step\n1,4\n2,\xff8\n3,8\n4,12\n", b"epoch,step\n1,4\n3,8\n", "1 rows whose"),
        (b"epoch;step\n1;4\n", b"", "no header whose"),
        (b"\xd0\xcf\x11\xe0 a workbook\n", b"", "no header whose"),
        (b'epoch,step\n"' + b"1,4\n" * 50_000, b"", "no header whose"),
    ],
)
def test_what_cannot_be_read_is_kept_beside(tmp_path, content, left, what):
    path = tmp_path / "metrics.csv"
    path.write_bytes(content)
    (said,) = drop_after(path, 8)
    assert path.read_bytes() == left and what in said and "metrics.csv.damaged" in said
    assert (tmp_path / "metrics.csv.damaged").read_bytes() == content
    append_row(path, {"epoch": 9, "step": 12})
    assert rows(path)[-1] == {"epoch": "9", "step": "12"}
    path.write_bytes(content)
    drop_after(path, 8)  # once more takes another name
    assert (tmp_path / "metrics.csv.damaged-2").read_bytes() == content


def test_a_header_alone_is_no_row(tmp_path):
    path = tmp_path / "metrics.csv"
    assert not has_rows(path)
    path.write_text("epoch,step\n")
    assert not has_rows(path)
    append_row(path, {"epoch": 1, "step": 4})
    assert has_rows(path)
