"""``docs/settings.md`` is what the schema says."""

import pathlib

from frcnn.config import reference
from frcnn.config.schema import KEYS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_of_settings_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert text == reference.markdown(), "run: python -m frcnn.config.reference > docs/settings.md"


def test_the_page_has_a_row_for_each_setting():
    rows = [line for line in reference.markdown().splitlines() if line.startswith("| `")]
    assert all(sum(row.startswith(f"| `{key}` |") for row in rows) == 1 for key in KEYS)
    row = next(row for row in rows if "`data.batch_size`" in row)
    assert (
        row == "| `data.batch_size` | `1` | a whole number from 1 to 4096 | images per step and device |"
    )
