"""``split.csv``: the images of the splits that a run made itself.

A data set without a validation split is divided by the hash of the images' names
(``frcnn.data.formats``). The list shows which images the run trained on, and other tools can use the
same splits.
"""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Sequence

from frcnn.data.sample import Dataset
from frcnn.files import safe_write
from frcnn.runs import run_directory

FILE = "split.csv"


def write(run_dir: pathlib.Path, datasets: Sequence[Dataset]) -> None:
    """Write (split, image) of all images, skipped ones included, if the run made the splits.

    Args:
        run_dir: the run directory, which exists.
        datasets: the training set and the validation set.
    """
    if not any(dataset.made for dataset in datasets):
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("split", "image"))
    for dataset in datasets:
        split = dataset.name.rpartition(" ")[2]
        names = [sample.name for sample in dataset.samples]
        names += [name for name, _ in dataset.skipped]
        rows.writerows((split, name) for name in names)
    with run_directory.writing(run_dir):
        safe_write.replace(run_dir / FILE, text.getvalue().encode("utf-8", "backslashreplace"))
