"""Early stopping: a run ends when its mAP has not risen for some validations.

The rule reads ``metrics.csv``, which a resumed run continues. So an interrupted and resumed run stops
after the same epoch as an uninterrupted one.
"""

from __future__ import annotations

import csv
import pathlib


def is_over(metrics: pathlib.Path, patience: int) -> bool:
    """Return whether none of the last ``patience`` validations had a better mAP than all before them.

    An mAP of nan, of a split without objects, does not count as a validation.

    Args:
        metrics: ``metrics.csv`` of the run; it may be missing.
        patience: number of validations; 0: the run never stops early.
    """
    if not patience or not metrics.is_file():
        return False
    with metrics.open(newline="", encoding="utf-8") as file:
        scores = [float(row["mAP"]) for row in csv.DictReader(file) if row["mAP"] not in ("", "nan")]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience
