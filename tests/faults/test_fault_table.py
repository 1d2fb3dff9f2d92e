"""Run the table of faults against the real command: all rows with ``FRCNN_FAULTS=all``, else a tenth.

A row starts a process that imports TensorFlow, which takes seconds. So ``make test`` runs every tenth
row, another tenth each day of the year; ``make test-all`` runs all.
"""

import datetime
import os

import pytest
from fault_command import Place, prepare
from fault_table import ROWS

TURNS = 10


def chosen(rows, environment=os.environ, day=None):
    """Return the rows that run today."""
    if environment.get("FRCNN_FAULTS") == "all":
        return rows
    day = datetime.date.today().timetuple().tm_yday if day is None else day
    return rows[day % TURNS :: TURNS]


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Return the folder that every row's place is copied from."""
    folder = tmp_path_factory.mktemp("original")
    prepare(folder)
    return folder


@pytest.mark.parametrize("row", chosen(ROWS), ids=lambda row: row.name.replace(" ", "-"))
def test_fault(row, original, tmp_path):
    place = Place(tmp_path, original, row.run)
    row.setup(place)
    result = place.run(row.command, row.untouched, row.environment, row.kill)
    assert result.status == row.status, result.text
    assert "Traceback" not in result.text
    for word in row.words:
        assert place.says(word), f"{word!r} is not in\n{result.text}"
    assert len(result.text.splitlines()) <= row.lines, result.text
    assert not result.changed
    row.check(place)


def test_every_row_has_its_turn_and_its_own_name():
    turns = [row.name for day in range(TURNS) for row in chosen(ROWS, {}, day)]
    assert sorted(turns) == sorted(row.name for row in ROWS)
    assert len(set(turns)) == len(turns) >= 60
    assert chosen(ROWS, {"FRCNN_FAULTS": "all"}) == ROWS
