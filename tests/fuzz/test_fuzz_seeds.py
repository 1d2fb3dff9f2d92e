"""Every seed, and every input that once made a reader fail, ends in a value or an error of ours."""

from pathlib import Path

import numpy as np
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
    + ["coco_ids", "description", *LABELS],
)
def test_the_fuzzer_starts_from_files_that_are_read(reader):
    for content in seeds_of(reader).values():
        READERS[reader](content)


def test_exported_files_are_fuzzed_from_one_that_is_read():
    pytest.importorskip("onnx", reason="onnx is not installed: pip install frcnn[export]")
    pytest.importorskip("onnxruntime")
    (content,) = seeds_of("onnx").values()
    description, _ = READERS["onnx"](content)
    assert description.classes == ("cat",)
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        for reader in ("onnx", "litert"):
            try:
                READERS[reader](bytes(damaged))
            except FrcnnError:
                pass
