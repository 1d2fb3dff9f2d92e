"""Every seed, and every input that once made a reader fail, ends in a value or an error of ours."""

from pathlib import Path

import pytest
from readers import LABELS, READERS, seeds_of

from frcnn.errors import FrcnnError

SEEDS = Path(__file__).parent / "seeds"
KEPT = [(path.parent.name, path.name) for path in sorted(SEEDS.glob("*/*"))]


@pytest.mark.parametrize(("reader", "name"), KEPT)
def test_a_kept_input(reader, name):
    try:
        READERS[reader]((SEEDS / reader / name).read_bytes())
    except FrcnnError:
        pass


@pytest.mark.parametrize(
    "reader",
    ["image", "annotation", "config", "split", "assignments", "npz", "hdf5", "events", "metrics"]
    + ["coco_ids", *LABELS],
)
def test_the_fuzzer_starts_from_files_that_are_read(reader):
    for content in seeds_of(reader).values():
        READERS[reader](content)
