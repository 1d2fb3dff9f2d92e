"""Early stopping: a run ends when its mAP has not risen for some validations.

The rule reads ``metrics.csv``, which a resumed run goes on with. So a run that was interrupted stops
where it would have stopped without.
"""

from __future__ import annotations

import csv
import pathlib


def is_over(metrics: pathlib.Path, patience: int) -> bool:
    """Return whether the last ``patience`` validations have not brought a better mAP than all before.

    Args:
        metrics: ``metrics.csv`` of the run; it may be missing.
        patience: number of validations; 0: the run never stops early. An mAP that is nan, as the split
            has no object, says nothing and does not count.
    """
    if not patience or not metrics.is_file():
        return False
    with metrics.open(newline="", encoding="utf-8") as file:
        scores = [float(row["mAP"]) for row in csv.DictReader(file) if row["mAP"] not in ("", "nan")]
    return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= patience
